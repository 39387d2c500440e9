--- hotlua: load native plugins, call them, and reload them while they run.
local core = require "hotlua.core"
local plugin = require "hotlua.plugin"
local policy = require "hotlua.policy"
local task = require "hotlua.task"
local timer = require "hotlua.timer"

local M = {}

M.load = plugin.load
M.get = plugin.get
M.plugins = plugin.list
M.policy = policy
M.sleep = task.sleep
M.every = timer.every
M.after = timer.after

M.new, M.cast, M.sizeof, M.offsetof, M.typeof = core.new, core.cast, core.sizeof, core.offsetof, core.typeof
M.string, M.copy, M.address, M.errno = core.string, core.copy, core.address, core.errno
M.callback = core.callback

--- Runs `fn(…)` as a task: a coroutine in which hot.sleep and plugin:reload() wait by yielding.
--- @return thread
function M.spawn(fn, ...)
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'spawn' (function expected, got %s)"):format(type(fn)), 2)
  end
  return task.start("a task", fn, ...)
end

--- Serves a loop of one's own: does what is waiting, timers and sockets of the loop included,
--- and returns at once.
function M.poll()
  core.drain()
  core.turn(false)
end

--- Runs the event loop until hot.stop(), SIGINT or SIGTERM. Watched plugins keep it going.
function M.run()
  core.await(1)
  core.run()
  core.await(-1)
end

--- Makes hot.run() return.
M.stop = core.stop

return M
