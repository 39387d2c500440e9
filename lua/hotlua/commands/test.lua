--- hotlua test: busted's own runner inside this host, with --isolate, --jobs, --limit and --watch.
local commands = require "hotlua.commands"
local events = require "hotlua.test.events"
local isolate = require "hotlua.test.isolate"
local scope = require "hotlua.test.scope"
local uv = require "luv"
local watch = require "hotlua.test.watch"

local ours = [[
hotlua's own options:
  --isolate        each spec file in a process of its own: a crash is that file's failure
  --jobs=N         so many processes at a time (implies --isolate)
  --limit=SECONDS  with --isolate: a process that is silent for so long is ended (default 300)
  --watch          run again what a changed file touches

busted's:
]]

-- Options -----------------------------------------------------------------------------------------

local flags = { ["--isolate"] = "isolate", ["--watch"] = "watch", ["--silent"] = "silent" }

-- Those below are how one process of a run tells another what to do.
local numbers = {
  ["--jobs"] = "jobs", ["--limit"] = "limit", ["--timeout"] = "limit",
  ["--events"] = "events", ["--isolated"] = "isolated",
}
local lists = { ["--only"] = "only", ["--only-test"] = "only_tests" }

local function read_number(option, text)
  local number = tonumber(text)
  if not number or number <= 0 then
    local message = "'%s' needs a number above zero, got '%s'"
    commands.misuse("test", message:format(option, tostring(text)))
  end
  return math.tointeger(number) or number
end

-- Splits the arguments into ours and busted's.
local function parse(arguments)
  local settings, rest = {}, {}
  local i = 1
  while arguments[i] do
    local word = arguments[i]
    local option, value = word:match "^(%-%-[%w-]+)=(.*)$"
    option = option or word
    if word == "--" then
      table.move(arguments, i, #arguments, #rest + 1, rest)
      break
    elseif flags[word] then
      settings[flags[word]] = true
    elseif numbers[option] or lists[option] then
      if not value then
        i = i + 1
        value = arguments[i]
      end
      if numbers[option] then
        settings[numbers[option]] = read_number(option, value)
      else
        settings[lists[option]] = settings[lists[option]] or {}
        table.insert(settings[lists[option]], value)
      end
    else
      rest[#rest + 1] = word
    end
    i = i + 1
  end
  if settings.jobs then settings.isolate = true end
  return settings, rest
end

local function has(words, ...)
  for _, word in ipairs(words) do
    for _, wanted in ipairs { ... } do
      if word == wanted then return true end
    end
  end
  return false
end

-- The run -----------------------------------------------------------------------------------------

-- Leaves out the tests that were not asked for.
local function select_tests(settings)
  local wanted
  for _, name in ipairs(settings.only_tests or {}) do
    wanted = wanted or {}
    wanted[name] = true
  end
  scope.is_wanted = function(element, full_name)
    if settings.isolated then return element.is_isolated == true end
    return wanted == nil or wanted[full_name] == true
  end
end

-- Takes busted's loader of spec files, the first that knows busted's own state.
local function hook_loader(settings, rest)
  local make_loader = require "busted.modules.test_file_loader"
  package.loaded["busted.modules.test_file_loader"] = function(busted, loaders)
    scope.attach(busted)
    select_tests(settings)
    busted.subscribe({ "file", "start" }, function(file)
      isolate.begin_file(file.name)
      return nil, true
    end)
    local send = settings.events and events.send(busted, settings.events)
    local load, load_file, list_files = make_loader(busted, loaders)
    local function load_all(roots, patterns, options)
      roots = settings.only or roots
      local files = settings.isolate and list_files(roots, patterns, options) or {}
      if #files == 0 or has(rest, "-l", "--list") then return load(roots, patterns, options) end
      isolate.register(busted, files, send)
      return files
    end
    return load_all, load_file, list_files
  end
  if settings.silent then
    package.loaded["busted.modules.output_handler_loader"] = function() return function() end end
    local make_execute = require "busted.execute"
    package.loaded["busted.execute"] = function(busted)
      local execute = make_execute(busted)
      return function(_, options) return execute(1, options) end
    end
  end
end

-- What busted's exit() is replaced by: the host ends in its own way.
local Exit = {}

local function replace_exit()
  require("busted.compatibility").exit = function(code)
    error(setmetatable({ status = code ~= 0 and 1 or 0 }, Exit), 0)
  end
end

local function run_busted(settings, rest)
  local words = { "--ignore-lua", table.unpack(rest) }
  words[0] = "hotlua test"
  _G.arg = words
  replace_exit()
  require "hotlua.test"
  isolate.settings, isolate.arguments = settings, rest
  hook_loader(settings, rest)
  -- busted takes its own name for messages from the file that calls it.
  local text = "local run = require 'busted.runner' run({ standalone = false }) return 0"
  local run = load(text, "@hotlua test")
  local ok, problem = xpcall(run, function(problem)
    return getmetatable(problem) == Exit and problem or debug.traceback(tostring(problem))
  end)
  if ok then return 0 end
  if getmetatable(problem) == Exit then return problem.status end
  error(problem, 0)
end

local function busted_help()
  local cli = require "busted.modules.cli" {}
  cli:set_name "hotlua test"
  local _, text = cli:parse { "--help" }
  return (text:gsub("^.-error: ", ""):gsub("; re%-run with.*$", "\n"))
end

return function(arguments)
  commands.need("busted.core", "lua-busted")
  local settings, rest = parse(arguments)
  if has(rest, "-h", "--help") then
    io.write(ours, busted_help())
    return 0
  end
  if settings.watch then return watch.run(settings, rest) end
  if settings.events then
    -- Anew, so that processes started by tests do not hold it open.
    local events_end = assert(uv.fs_open(("/proc/self/fd/%d"):format(settings.events), "w", 0))
    uv.fs_close(settings.events)
    settings.events = events_end
  end
  return run_busted(settings, rest)
end
