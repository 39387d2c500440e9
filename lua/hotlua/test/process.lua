--- A process of this program that runs specs and tells its events (hotlua.test.events).
local core = require "hotlua.core"
local files = require "hotlua.test.files"
local events = require "hotlua.test.events"
local scope = require "hotlua.test.scope"
local uv = require "luv"

local M = {}

local linger_ms = 300 -- how long output is waited for once the process has ended

local signal_names = {}
for name, number in pairs(uv.constants) do
  if name:find "^SIG%u" then signal_names[number] = name end
end

local Process = {}
Process.__index = Process

-- Reads what comes through the pipe until its end.
function Process:read(pipe, on_piece)
  self.open = self.open + 1
  pipe:read_start(function(_, piece)
    if piece then return on_piece(piece) end
    if not pipe:is_closing() then pipe:close() end
    self.open = self.open - 1
    self:settle()
  end)
  self.pipes[#self.pipes + 1] = pipe
end

function Process:settle()
  if self.is_done or not self.code or (self.open > 0 and not self.is_late) then return end
  self.is_done = true
  files.remove(self.directory)
  for _, pipe in ipairs(self.pipes) do
    if not pipe:is_closing() then pipe:close() end
  end
  self.timer:close()
  self.on_end(self)
end

function Process:restart_timer()
  if not self.limit or self.is_done or self.timer:is_closing() then return end
  self.timer:start(math.ceil(self.limit * 1000), 0, function()
    self.is_hung = true
    self:kill()
  end)
end

--- Ends the process at once.
function Process:kill()
  if not self.code then self.handle:kill "sigkill" end
end

--- How it ended, in words; nil if it went through all specs.
--- @return string?
function Process:problem()
  if self.is_hung then return ("hung: nothing came from it for %g s"):format(self.limit) end
  if self.signal ~= 0 then
    return ("was killed by %s"):format(signal_names[self.signal] or "signal " .. self.signal)
  end
  if not self.is_whole then return ("exited with status %d"):format(self.code) end
  return nil
end

--- The name of the signal that ended it, nil if none did.
function Process:signal_name()
  return self.signal ~= 0 and signal_names[self.signal] or nil
end

--- Waits until it has ended, running the loop.
function Process:wait()
  while not self.is_done do core.turn(true) end
end

-- Temporary files go into a folder that is removed whatever becomes of the process.
local function environment(directory)
  local list = { "TMPDIR=" .. directory }
  for name, value in pairs(uv.os_environ()) do
    if name ~= "TMPDIR" then list[#list + 1] = name .. "=" .. value end
  end
  return list
end

local function start(options)
  local self = setmetatable({
    pipes = {}, open = 0, limit = options.limit, on_end = options.on_end,
  }, Process)
  local ends = assert(uv.pipe { nonblock = true })
  local stdio = { 0, 1, 2, ends.write }
  if options.on_output then
    stdio[1], stdio[2], stdio[3] = nil, uv.new_pipe(false), uv.new_pipe(false)
  end
  self.timer = uv.new_timer()
  self.directory = files.temporary_directory()
  uv.fs_chmod(self.directory, 457)         -- 0711: a test may open its own folder to another user
  local handle, problem
  handle, problem = uv.spawn(uv.exepath(), {
    args = options.arguments, env = environment(self.directory),
    stdio = { stdio[1], stdio[2], stdio[3], stdio[4] },
  }, function(code, signal)
    self.code, self.signal = code, signal
    handle:close()
    self.timer:start(linger_ms, 0, function()
      self.is_late = true
      self:settle()
    end)
    self:settle()
  end)
  uv.fs_close(ends.write)
  if not handle then error(("cannot start %s: %s"):format(uv.exepath(), problem), 0) end
  self.handle = handle
  local pipe = uv.new_pipe(false)
  pipe:open(ends.read)
  self:read(pipe, events.reader(function(event)
    self:restart_timer()
    if event.event == "suite_end" then self.is_whole = true end
    options.on_event(event)
  end))
  if options.on_output then
    self:read(stdio[2], options.on_output)
    self:read(stdio[3], options.on_output)
  end
  self:restart_timer()
  return self
end

--- Starts `hotlua test ARGUMENTS`.
--- @param options table { arguments, on_event(event), on_end(process), on_output(piece)?,
--- limit? seconds }; without on_output the process writes where this one does
--- @return table process
function M.start(options)
  options.arguments = { "test", "--events=3", table.unpack(options.arguments) }
  return scope.outside_of_tests(start, options)
end

return M
