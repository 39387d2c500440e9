--- hotlua test --watch: runs again what a changed file touches. Each run is a process of its own,
--- which tells what every spec file has opened.
local core = require "hotlua.core"
local files = require "hotlua.test.files"
local process = require "hotlua.test.process"
local uv = require "luv"

local M = {}

local quiet_ms = 30 -- changes that come closer together are one

local help = "a: all, f: failures, q: quit"

-- What is watched ---------------------------------------------------------------------------------

local Watch = {}
Watch.__index = Watch

-- Only what the user edits: not the compiler's cache, temporary folders or the system's modules.
local function is_of_interest(path)
  local here = uv.cwd() .. "/"
  if path:sub(1, #here) == here then return true end
  for _, pattern in ipairs { "^/usr/", "/hotlua%-test%-", "/%.cache/hotlua/" } do
    if path:find(pattern) then return false end
  end
  local cache = os.getenv "XDG_CACHE_HOME"
  return not (cache and path:sub(1, #cache) == cache)
end

-- Watches the folder of a file; a file that an editor replaces stays seen.
function Watch:add_directory(path)
  if self.directories[path] then return end
  local handle = uv.new_fs_event()
  self.directories[path] = handle
  handle:start(path, {}, function(problem, name)
    if not problem and name then self:on_change(path .. "/" .. name) end
  end)
end

function Watch:add(spec, path)
  if not is_of_interest(path) then return end
  self.touches[path] = self.touches[path] or {}
  self.touches[path][spec] = true
  self.contents[path] = self.contents[path] or files.read(path)
  self:add_directory(path:match "^(.*)/[^/]*$")
end

-- A change that left the content as it was is none.
local function is_changed(self, path)
  local before, now = self.contents[path], files.read(path)
  if now == nil or now == before then return false end
  self.contents[path] = now
  return true
end

function Watch:on_change(path)
  local specs = self.touches[path]
  local is_new_spec = not specs and path:find "_spec%.lua$"
  if not specs and not is_new_spec then return end
  if not is_changed(self, path) then return end
  self.pending = self.pending or {}
  for spec in pairs(specs or { [path] = true }) do self.pending[spec] = true end
  self.timer:start(quiet_ms, 0, function() self:start_pending() end)
end

-- Runs --------------------------------------------------------------------------------------------

local function clear_screen()
  if core.is_terminal(1) then io.write "\27[2J\27[3J\27[H" end
end

local function sorted(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  table.sort(list)
  return list
end

-- One event of the run in progress.
function Watch:take(event)
  local run, kind = self.run, event.event
  if kind == "file_start" then
    run.spec, run.names = uv.fs_realpath(event.name) or event.name, {}
    run.specs[run.spec] = event.name
    self.failures[run.spec] = nil
    self:add(run.spec, run.spec)
  elseif kind == "input" and run.spec then
    self:add(run.spec, event.path)
  elseif kind == "describe_start" or kind == "test_start" then
    table.insert(run.names, event.name)
  elseif kind == "describe_end" then
    table.remove(run.names)
  elseif kind == "problem" and event.status ~= "pending" then
    self:note_failure(event)
  elseif kind == "test_end" then
    if event.status == "success" then run.passed = run.passed + 1 end
    table.remove(run.names)
  end
end

-- A test that failed is run by its name; what failed outside of a test, with its whole file.
function Watch:note_failure(event)
  local run = self.run
  run.failed = run.failed + 1
  if not run.spec then return end
  local failures = self.failures[run.spec] or {}
  self.failures[run.spec] = failures
  if event.descriptor == "it" then
    table.insert(failures, table.concat(run.names, " "))
  else
    failures.is_whole_file = true
  end
end

function Watch:on_end(ended)
  local run = self.run
  self.run = nil
  local problem = ended:problem()
  if problem and not run.is_cancelled and run.spec then
    self.failures[run.spec] = { is_whole_file = true }
    run.failed = run.failed + 1
  end
  local count = 0
  for _ in pairs(run.specs) do count = count + 1 end
  local seconds = (core.now() - run.began) / 1e9
  io.write(("%s  %d passed, %d failed in %d %s, %.1f s%s  (%s)\n"):format(
    os.date "%H:%M:%S", run.passed, run.failed, count, count == 1 and "file" or "files", seconds,
    problem and "; the run " .. problem or "", help))
  io.flush()
  if self.pending then self:start_pending() end
end

function Watch:start(arguments)
  clear_screen()
  io.flush()
  for _, word in ipairs(self.arguments) do arguments[#arguments + 1] = word end
  self.run = { began = core.now(), passed = 0, failed = 0, specs = {}, names = {} }
  self.process = process.start {
    arguments = arguments,
    on_event = function(event) self:take(event) end,
    on_end = function(ended) self:on_end(ended) end,
  }
end

function Watch:start_pending()
  if self.run or not self.pending then return end
  local arguments = {}
  for _, spec in ipairs(sorted(self.pending)) do
    if uv.fs_stat(spec) then arguments[#arguments + 1] = "--only=" .. spec end
  end
  self.pending = nil
  if #arguments > 0 then self:start(arguments) end
end

-- Whole files where something failed outside of a test, else the tests that failed.
function Watch:start_failures()
  local arguments, names = {}, {}
  local is_whole = false
  for _, spec in ipairs(sorted(self.failures)) do
    arguments[#arguments + 1] = "--only=" .. spec
    is_whole = is_whole or self.failures[spec].is_whole_file
    for _, name in ipairs(self.failures[spec]) do names[#names + 1] = name end
  end
  if #arguments == 0 then
    io.write("nothing has failed  (", help, ")\n")
    return io.flush()
  end
  if is_whole then names = {} end
  for _, name in ipairs(names) do arguments[#arguments + 1] = "--only-test=" .. name end
  self:start(arguments)
end

-- Keys --------------------------------------------------------------------------------------------

function Watch:on_key(key)
  if key == "q" or key == "\3" or key == "\4" then
    self.is_ended = true
    if self.run then
      self.run.is_cancelled = true
      self.process:kill()
    end
  elseif self.run then
    return
  elseif key == "a" or key == "\r" then
    self:start {}
  elseif key == "f" then
    self:start_failures()
  end
end

-- Standard input, a terminal key by key. nil where there is nothing to read from.
local function open_keys()
  local kind = uv.guess_handle(0)
  if kind == "tty" then
    local tty = uv.new_tty(0, true)
    tty:set_mode(1)
    return tty
  elseif kind == "pipe" then
    local pipe = uv.new_pipe(false)
    pipe:open(0)
    return pipe
  end
end

function Watch:read_keys()
  local keys = open_keys()
  if not keys then return end
  self.keys = keys
  keys:read_start(function(_, text)
    if not text then return keys:read_stop() end
    for key in text:gmatch "." do self:on_key(key) end
  end)
end

function Watch:close()
  self.timer:close()
  for _, handle in pairs(self.directories) do handle:close() end
  if self.keys then
    if uv.guess_handle(0) == "tty" then uv.tty_reset_mode() end
    self.keys:close()
  end
end

local function is_directory(path)
  return (uv.fs_stat(path) or {}).type == "directory"
end

-- The folders among the arguments, or `spec`: new spec files appear there.
function Watch:add_spec_directories()
  local found = false
  for _, word in ipairs(self.arguments) do
    if word:sub(1, 1) ~= "-" and is_directory(word) then
      found = true
      self:add_directory(uv.fs_realpath(word))
    end
  end
  if not found and is_directory "spec" then self:add_directory(uv.fs_realpath "spec") end
end

--- Runs all, then what changes touch, until told to quit.
--- @param settings table of the command: isolate, jobs, limit
--- @param arguments string[] busted's
--- @return integer exit status
function M.run(settings, arguments)
  local self = setmetatable({
    arguments = { table.unpack(arguments) }, directories = {}, touches = {}, contents = {},
    failures = {}, timer = uv.new_timer(),
  }, Watch)
  self:add_spec_directories()
  if settings.isolate then table.insert(self.arguments, 1, "--isolate") end
  for _, name in ipairs { "jobs", "limit" } do
    if settings[name] then
      table.insert(self.arguments, 1, ("--%s=%s"):format(name, settings[name]))
    end
  end
  self:read_keys()
  self:start {}
  local ok, problem = pcall(function()
    while not self.is_ended or self.run do core.turn(true) end
  end)
  self:close()
  if not ok then error(problem, 0) end
  return next(self.failures) and 1 or 0
end

return M
