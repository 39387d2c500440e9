--- Events of plugins and groups: handlers in the order in which they were added.
local M = {}

--- The events there are (contract of `plugin:on`).
M.names = {
  changed = true, before_load = true, loaded = true, before_unload = true, unloaded = true,
  failed = true, rolled_back = true, emit = true, rehearsal = true,
}

local Subscription = {}
Subscription.__index = Subscription
Subscription.__name = "hotlua.subscription"

--- Ends the subscription, at once: also in the middle of an event. A second call does nothing.
function Subscription:off()
  self.is_off = true
  local list = self.list
  for i = 1, #list do
    if list[i] == self then
      table.remove(list, i)
      break
    end
  end
end

--- Adds a handler.
--- @param handlers table the owner's table of lists
--- @param event string
--- @param fn function
function M.add(handlers, event, fn)
  if not M.names[event] then
    local known = {}
    for name in pairs(M.names) do known[#known + 1] = name end
    table.sort(known)
    error(("bad argument #1 to 'on' (no event '%s'; there are %s)"):format(
      tostring(event), table.concat(known, ", ")), 3)
  end
  if type(fn) ~= "function" and not (getmetatable(fn) or {}).__call then
    error(("bad argument #2 to 'on' (function expected, got %s)"):format(type(fn)), 3)
  end
  local list = handlers[event] or {}
  handlers[event] = list
  local subscription = setmetatable({ list = list, call = fn }, Subscription)
  list[#list + 1] = subscription
  return subscription
end

--- Does anybody listen to the event?
function M.has(handlers, event)
  return handlers[event] ~= nil and #handlers[event] > 0
end

local function with_traceback(message)
  return type(message) == "string" and debug.traceback(message, 2) or message
end

--- Calls the handlers of one event. `failed(message)` gets each error; when it returns true,
--- the rest is not called.
--- @return boolean all went well
function M.fire(handlers, event, failed, ...)
  local list = handlers[event]
  if not list then return true end
  local well = true
  for _, subscription in ipairs({ table.unpack(list) }) do
    local ok, message = true, nil
    if not subscription.is_off then ok, message = xpcall(subscription.call, with_traceback, ...) end
    if not ok then
      well = false
      if failed(message) then return false end
    end
  end
  return well
end

return M
