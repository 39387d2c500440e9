--- Stopping the threads that use a plugin, at the boundary of its calls, for the time of a carry.
local core = require "hotlua.core"
local task = require "hotlua.task"

local M = {}

local limit_ms = 200 -- a thread that stays inside longer puts the reload off; one may lose its processor that long
local first_us = 300 -- so long is waited without serving the loop

--- Stops the threads; they go on at M.release. Nothing happens where no other Lua state has a plugin.
--- @param owners table[] private states of plugins
--- @param is_direct boolean may the loop not be served meanwhile?
--- @return boolean stopped
--- @return string? who is inside and does not come out
function M.stop(owners, is_direct)
  local shared = {}
  for _, owner in ipairs(owners) do
    if owner.live and core.is_shared(owner.handle) then shared[#shared + 1] = owner end
  end
  for _, owner in ipairs(shared) do
    core.hold_begin(owner.handle)
    owner.is_holding = true
  end
  local limit = core.now() + limit_ms * 1000000
  for _, owner in ipairs(shared) do
    local reached, who = core.hold_await(owner.handle, is_direct and limit_ms * 1000 or first_us)
    while not reached and not is_direct and core.now() < limit do
      task.sleep(0.5) -- a callback that the other thread waits for is served here
      reached, who = core.hold_await(owner.handle, 0)
    end
    if not reached then
      M.release(owners)
      return false, who
    end
  end
  return true
end

--- Lets the threads go on. A second call does nothing.
function M.release(owners)
  for _, owner in ipairs(owners) do
    if owner.is_holding then core.hold_end(owner.handle) end
    owner.is_holding = nil
  end
end

return M
