--- Whose is what a test makes: every plugin, handle and folder belongs to the test, describe or
--- file in which it was made and goes with it. A handle left open, and an error in a callback,
--- fails its test.
local core = require "hotlua.core"
local files = require "hotlua.test.files"
local plugins = require "hotlua.plugin"
local reload = require "hotlua.reload"
local task = require "hotlua.task"
local uv = require "luv"

local M = {}

local scopes = setmetatable({}, { __mode = "k" })  -- element of busted's -> its scope
local places = setmetatable({}, { __mode = "k" })  -- luv handle -> { where, scope }
local outside = { directories = {}, plugins = {}, errors = {} }
local active       -- scope of the running test
local is_outside   -- what is made now is nobody's
local busted_core  -- busted's own state; nil outside of busted

-- Places ------------------------------------------------------------------------------------------

--- The line of the user's that is being run: "spec/a_spec.lua:12".
--- @return string
function M.where()
  for level = 2, 200 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    local source = info.source
    local is_ours = info.what == "C" or source:find "^=hotlua/" or source:find "/busted/" or
      source:find "/luassert/"
    if not is_ours then return ("%s:%d"):format(info.short_src, info.currentline) end
  end
  return "?"
end

--- Raises with the user's line in front.
function M.raise(message)
  error(("%s: %s"):format(M.where(), message), 0)
end

--- Raises as a failed assertion does, with the user's line in front.
function M.fail(message)
  local text = ("%s: %s"):format(M.where(), message)
  if busted_core then busted_core.fail(text, 0) end
  error(text, 0)
end

local function note_place(handle)
  if type(handle) == "userdata" then places[handle] = { where = M.where(), scope = M.current() } end
end

local function note_places_of(name)
  local make = uv[name]
  uv[name] = function(...)
    local results = table.pack(make(...))
    note_place(results[1])
    return table.unpack(results, 1, results.n)
  end
end

for name, value in pairs(uv) do
  local makes_handle = name:find "^new_" or name == "spawn"
  if makes_handle and type(value) == "function" then note_places_of(name) end
end

-- Scopes ------------------------------------------------------------------------------------------

local function scope_of(element)
  local scope = scopes[element]
  if not scope then
    scope = { element = element, directories = {}, plugins = {}, errors = {} }
    scopes[element] = scope
  end
  return scope
end

local belongs_to_parent = {
  lazy_setup = true, strict_setup = true, lazy_teardown = true, strict_teardown = true,
}

--- The scope that owns what is made now.
--- @return table
function M.current()
  if not busted_core or is_outside then return outside end
  local element = busted_core.context.get()
  if belongs_to_parent[element.descriptor] then
    return scope_of(busted_core.context.parent(element))
  end
  return active or scope_of(element)
end

--- Calls `fn(…)`; what it makes belongs to no test.
function M.outside_of_tests(fn, ...)
  local before = is_outside
  is_outside = true
  local results = table.pack(pcall(fn, ...))
  is_outside = before
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

--- Should the test run? Replaced by the test command.
--- @param _element table of busted's
--- @param _full_name string
--- @return boolean
function M.is_wanted(_element, _full_name)
  return true
end

--- Gives a plugin to the scope.
function M.own_plugin(plugin)
  local scope = M.current()
  scope.plugins[#scope.plugins + 1] = plugin
end

--- A new folder that goes with the scope.
--- @return string path
function M.new_directory()
  local path = files.temporary_directory()
  local scope = M.current()
  scope.directories[#scope.directories + 1] = path
  if scope == outside then files.remove_at_exit(path) end
  return path
end

--- Calls `fn()` when the scope ends.
function M.at_end(fn)
  local scope = M.current()
  scope.endings = scope.endings or {}
  table.insert(scope.endings, fn)
end

--- Raises the oldest error of a callback that nobody has seen.
function M.raise_errors()
  local errors = M.current().errors
  if errors[1] ~= nil then error(table.remove(errors, 1), 0) end
end

local print_error = task.on_error

--- Takes the errors of handlers, timers, tasks and luv callbacks.
function task.on_error(message, what)
  local scope = active or M.current()
  if scope == outside then return print_error(message, what) end
  if type(message) == "string" then message = ("%s\n(%s)"):format(message, what) end
  table.insert(scope.errors, message)
end

-- What is open ------------------------------------------------------------------------------------

local function each_handle(fn)
  uv.walk(fn)
end

local function look(scope)
  scope.known = {}
  for _, plugin in ipairs(plugins.list()) do scope.known[plugin] = true end
  each_handle(function(handle) scope.known[handle] = true end)
end

local function is_owned_elsewhere(scope, plugin)
  for _, other in pairs(scopes) do
    for _, owned in ipairs(other ~= scope and other.plugins or {}) do
      if owned == plugin then return true end
    end
  end
  return false
end

local function close_plugins(scope, errors)
  local doomed = {}
  for i = #scope.plugins, 1, -1 do doomed[#doomed + 1] = scope.plugins[i] end
  for _, plugin in ipairs(scope.known and plugins.list() or {}) do
    if not scope.known[plugin] and not is_owned_elsewhere(scope, plugin) then
      doomed[#doomed + 1] = plugin
    end
  end
  for _, plugin in ipairs(doomed) do
    local ok, message = pcall(plugin.close, plugin)
    if not ok then errors[#errors + 1] = message end
  end
  scope.plugins = {}
end

local function is_left_open(scope, handle)
  local place = places[handle]
  if place then return place.scope == scope end
  return scope.known ~= nil and not scope.known[handle]
end

local function kind_of(handle)
  local kind = tostring(handle):match "^uv_([%a_]+)" or "handle"
  return (kind:gsub("_t$", ""):gsub("_", " "))
end

-- Closes the luv handles that the scope left open. Returns a line for each.
local function close_handles(scope)
  local lines = {}
  each_handle(function(handle)
    if not is_left_open(scope, handle) then return end
    local place = places[handle]
    local kind = kind_of(handle)
    local where = place and place.where or "?"
    lines[#lines + 1] = ("%s: a luv %s made here was left open"):format(where, kind)
    if kind == "process" then pcall(uv.process_kill, handle, "sigkill") end
    pcall(uv.close, handle)
  end)
  table.sort(lines)
  return lines
end

local function turn_loop()
  if core.is_running() then return end
  for _ = 1, 3 do
    core.drain()
    core.turn(false)
  end
end

--- Closes and removes all that the scope owns. Returns what should fail it: an error value, nil for
--- nothing.
local function release(scope)
  reload.fail_at(nil)
  for _, fn in ipairs(scope.endings or {}) do fn() end
  scope.endings = nil
  turn_loop()
  local errors = scope.errors
  close_plugins(scope, errors)
  turn_loop()
  local lines = close_handles(scope)
  if #lines > 0 then turn_loop() end
  for i = #scope.directories, 1, -1 do files.remove(scope.directories[i]) end
  scope.directories, scope.errors, scope.known = {}, {}, nil
  for i = 2, #errors do print_error(errors[i], "one more error of the same test") end
  if errors[1] ~= nil then return errors[1] end
  if #lines > 0 then return { leaks = table.concat(lines, "\n") } end
  return nil
end

-- Raises what release() returned, so that busted sees what was raised in the first place.
local function raise(problem)
  if problem == nil then return end
  if type(problem) == "table" and problem.leaks then busted_core.fail(problem.leaks, 0) end
  error(problem, 0)
end

-- Runs `fn` with what it makes in a fresh scope of its own, which is then released.
function M.apart(fn, ...)
  local outer, inner = active, { directories = {}, plugins = {}, errors = {} }
  look(inner)
  active = inner
  local results = table.pack(pcall(fn, ...))
  active = outer
  inner.known = inner.known or {}
  local problem = release(inner)
  if not results[1] then error(results[2], 0) end
  raise(problem)
  return table.unpack(results, 2, results.n)
end

-- busted ------------------------------------------------------------------------------------------

local function upvalue(fn, wanted)
  for i = 1, 60 do
    local name, value = debug.getupvalue(fn, i)
    if name == wanted then return value end
    if not name then return nil end
  end
end

-- The modules stay loaded: busted forgets after each file what was loaded in it.
local function stay_loaded()
  for name, module in pairs(package.loaded) do
    if name == "luv" or name:find "^hotlua" then
      package.preload[name] = package.preload[name] or function() return module end
    end
  end
end

--- The names of the describes and the test, with spaces between.
function M.full_name(element)
  local names = {}
  while element and element.descriptor ~= "file" and element.name do
    table.insert(names, 1, element.name)
    element = busted_core.context.parent(element)
  end
  return table.concat(names, " ")
end

-- The end of a test is told after its after_each, and after what it owns is gone.
local function wrap_test(run, publish)
  local held
  local function run_test(element)
    if not M.is_wanted(element, M.full_name(element)) then return end
    local scope = scope_of(element)
    look(scope)
    active, held = scope, nil
    run(element)
    local ended = held
    held = nil
    local problem = release(scope)
    active = nil
    if not ended then return raise(problem) end
    local status = busted_core.status(ended[5])
    if problem ~= nil and status:success() then
      status:update((busted_core.safe("it", function() raise(problem) end, element)))
    end
    publish(ended[1], ended[2], ended[3], ended[4], tostring(status))
  end
  local function publish_or_hold(descriptor, channel, element, ...)
    if active and active.element == element and channel[1] == "test" and channel[2] == "end" then
      held = { descriptor, channel, element, ... }
      return true
    end
    return publish(descriptor, channel, element, ...)
  end
  return run_test, publish_or_hold
end

local function release_element(element)
  raise(scopes[element] and release(scopes[element]))
  return nil, true
end

-- A handle or plugin made by lazy_setup, which runs inside the first test, is not that test's.
local function wrap_safe(safe)
  return function(descriptor, run, element)
    local results = table.pack(safe(descriptor, run, element))
    if descriptor == "lazy_setup" and active then look(active) end
    return table.unpack(results, 1, results.n)
  end
end

-- The busted that runs, where it was not told: what its public face hides.
local function find_busted()
  local busted = package.loaded["busted"]
  local index = busted and (getmetatable(busted) or {}).__index
  return type(index) == "function" and upvalue(index, "busted") or nil
end

--- Hooks into the busted that runs, once. Returns busted's own state, nil outside of busted.
--- @param given table? busted's own state
--- @return table?
function M.attach(given)
  local found = given or find_busted()
  if not found or found == busted_core then return busted_core end
  local executors = upvalue(found.execute, "executors")
  if not executors or not executors.it then
    error("hotlua.test: this busted is not one that it knows (2.1)", 0)
  end
  busted_core = found
  executors.it, found.safe_publish = wrap_test(executors.it, found.safe_publish)
  found.safe = wrap_safe(found.safe)
  for _, channel in ipairs { "describe", "file" } do
    found.subscribe({ channel, "end" }, release_element, { priority = 1 })
  end
  stay_loaded()
  return found
end

return M
