--- hotlua: load native plugins, call them, and reload them while they run.
local check = require "hotlua.check"
local core = require "hotlua.core"
local folder = require "hotlua.folder"
local group = require "hotlua.group"
local inspect = require "hotlua.inspect"
local module = require "hotlua.module"
local plugin = require "hotlua.plugin"
local policy = require "hotlua.policy"
local task = require "hotlua.task"
local timer = require "hotlua.timer"
local worker = require "hotlua.worker"

local M = {}

M.load = plugin.load
M.get = plugin.get
M.plugins = plugin.list
M.policy = policy
M.module = module.load
M.group = group.new
M.load_dir = folder.load
M.sleep = task.sleep
M.every = timer.every
M.after = timer.after
M.worker = worker.new
M.parent = worker.parent

M.new, M.cast, M.sizeof, M.offsetof, M.typeof = core.new, core.cast, core.sizeof, core.offsetof, core.typeof
M.string, M.copy, M.address, M.errno = core.string, core.copy, core.address, core.errno
M.callback = core.callback

--- Opens a library with the bare dynamic loader: no copy, no reload. Raises when it cannot.
--- @return table lib with `:symbol(name) -> address | nil` and `:close()`
function M.open(path)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'open' (string expected, got %s)"):format(path == nil and "no value" or type(path)), 2)
  end
  local library, message = core.open_library(path)
  if not library then error(message, 2) end
  return library
end

--- What stands at an address: { file, symbol, offset, source, line, plugin, generation }, nil for nothing.
--- @param address any an integer, or anything that hot.address takes
function M.symbolize(address)
  return core.symbolize(math.type(address) == "integer" and address or core.address(address))
end

local self_object

--- The running program's own exported symbols, as a plugin-like object with `api`, `types`, `enums` and
--- `exports()`.
function M.self()
  if self_object then return self_object end
  local handle, message = core.self()
  if not handle then error(message, 2) end
  self_object = {
    name = "self", api = core.new_api(handle), types = core.new_types(handle),
    enums = core.new_enums(handle), exports = function() return core.exports(handle) end,
  }
  return self_object
end

--- What is in a shared object, which is not loaded for that; raises when it is none.
--- @param path string
--- @return table { path, bytes, size, build_id, needed, exports, functions, variables, types, … }
function M.inspect(path)
  return inspect.inspect(path)
end

--- Compares two files: what a reload would keep, convert, reset and refuse.
--- @param old string path
--- @param new string path
--- @param options table? `carry` and `cdef` as in hot.load
--- @return table { added, removed, changed, kept, converted, reset, …, compatible, reasons }
function M.check(old, new, options)
  return check.files(old, new, options)
end

--- Runs `fn(…)` as a task: a coroutine in which hot.sleep and plugin:reload() wait by yielding.
--- @return thread
function M.spawn(fn, ...)
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'spawn' (function expected, got %s)"):format(type(fn)), 2)
  end
  return task.spawn("a task", fn, ...)
end

--- Serves a loop of one's own: does what is waiting, timers and sockets of the loop included,
--- and returns at once.
function M.poll()
  core.drain()
  core.turn(false)
end

--- Runs the event loop until hot.stop(), SIGINT or SIGTERM. Watched plugins keep it going.
M.run = worker.run_loop

--- The event loop's `uv_loop_t *`, for plugins that call libuv themselves. Handles that they make there keep
--- their image mapped until they are closed.
function M.loop()
  return core.cast("void *", core.loop_address())
end

--- Makes hot.run() return.
M.stop = core.stop

return M
