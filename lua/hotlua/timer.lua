--- Timers on the loop whose functions run as tasks: they may sleep and reload.
local task = require "hotlua.task"
local uv = require "luv"

local Timer = {}
Timer.__index = Timer
Timer.__close = function(self) self:stop() end
Timer.__name = "hotlua.timer"

--- Stops the timer for good.
function Timer:stop()
  if self.handle and not self.handle:is_closing() then
    self.handle:stop()
    self.handle:close()
  end
  self.handle = nil
end
Timer.close = Timer.stop

local M = {}

local function check(ms, fn, name)
  if type(ms) ~= "number" or ms ~= ms or ms < 0 then
    error(("bad argument #1 to '%s' (milliseconds expected, got %s)"):format(name, tostring(ms)), 3)
  end
  if type(fn) ~= "function" then
    error(("bad argument #2 to '%s' (function expected, got %s)"):format(name, type(fn)), 3)
  end
end

local function traced(message)
  return type(message) == "string" and debug.traceback(message, 2) or message
end

local function start(first, again, what, fn)
  local self = setmetatable({ handle = uv.new_timer() }, Timer)
  local busy = false
  self.handle:start(math.ceil(first), math.ceil(again), function()
    if again == 0 then self:stop() end
    if busy then return end
    busy = true
    task.spawn(what, function()
      local ok, message = xpcall(fn, traced, self)
      busy = false
      if not ok then task.on_error(message, "error in " .. what) end
    end)
  end)
  return self
end

--- Calls `fn(timer)` every `ms` milliseconds until `timer:stop()`. A call that is still waiting is not
--- entered again.
function M.every(ms, fn)
  check(ms, fn, "every")
  return start(math.max(ms, 1), math.max(ms, 1), "hot.every", fn)
end

--- Calls `fn(timer)` once after `ms` milliseconds, unless stopped before.
function M.after(ms, fn)
  check(ms, fn, "after")
  return start(ms, 0, "hot.after", fn)
end

return M
