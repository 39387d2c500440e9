--- What becomes of an image after it was live: kept for a rollback, retired when its last caller has left,
--- unloaded, or held where it cannot be.
local core = require "hotlua.core"
local event = require "hotlua.event"
local task = require "hotlua.task"

local M = {}

local function report_handler(name)
  return function(message) task.on_error(message, ("error in a '%s' handler"):format(name)) end
end

local function forget(owner, image)
  for i, other in ipairs(owner.images) do
    if other == image then
      table.remove(owner.images, i)
      return
    end
  end
end

-- Reports the end of an image; one that stays mapped stays in the list.
local function unloaded(owner, image)
  local info = image:info()
  if info.state == "gone" then forget(owner, image) end
  event.fire(owner.handlers, "unloaded", report_handler "unloaded", image.generation, info.why)
end

local function hold(owner, image, why)
  core.set_state(image.handle, "held", why)
  event.fire(owner.handlers, "unloaded", report_handler "unloaded", image.generation, why)
end

-- Why must the image stay mapped, nil if it need not?
local function reason_to_hold(image)
  if image.broken then return "it crashed: " .. image.broken end
  if image.is_pointed_to then
    return ("'%s' points into it and has no counterpart in the new image"):format(image.is_pointed_to)
  end
  return nil
end

local first_retry_ms <const>, last_retry_ms <const> = 50, 5000

-- Looks again, less and less often, whether the last user of the image has gone.
local function close_later(owner, image, pause)
  image.retry = core.alarm(pause, function()
    image.retry = nil
    if image:info().state ~= "held" then return end
    core.close(image.handle, function()
      if image:info().is_used then return close_later(owner, image, math.min(2 * pause, last_retry_ms)) end
      unloaded(owner, image)
    end)
  end)
end

-- Fires `before_unload`. Is the image to go? When it was released it is not asked for again.
local function may_go(owner, image)
  if image.is_released then return true end
  image.cancelled = nil
  event.fire(owner.handlers, "before_unload", report_handler "before_unload", image)
  if image.broken then -- a handler has called it
    hold(owner, image, reason_to_hold(image))
    return false
  end
  if not image.cancelled then return true end
  function image.on_release()
    image.is_released = true
    M.unload(owner, image)
  end
  core.set_state(image.handle, "held", "before_unload: " .. image.cancelled)
  return false
end

local longest_closing_ms <const> = 200

-- Handles of the loop that lead into the image and were closed are so after its next turn. When the program is
-- being ended by a signal that turn is made, too, and then raises.
local function wait_for_handles(image)
  if not core.awaits_handle(image.handle) or not task.can_wait() then return end
  pcall(task.wait, function() return not core.awaits_handle(image.handle) end, longest_closing_ms)
end

-- With no call inside: `before_unload`, then dlclose.
local function unload(owner, image, is_direct)
  if not may_go(owner, image) then return end
  wait_for_handles(image)
  if is_direct then
    core.close(image.handle)
  else
    task.await(function(done) core.close(image.handle, done) end)
  end
  unloaded(owner, image)
  if image:info().is_used then close_later(owner, image, first_retry_ms) end
end

-- Has it calls in progress, or is another plugin's image linked with it?
local function is_in_use(image)
  return core.is_inside(image.handle) or core.is_used(image.handle)
end

--- Unloads an image when no call is inside any more, and no image that is linked with it is loaded.
--- @param is_direct boolean? do it now if possible, on this thread
function M.unload(owner, image, is_direct)
  core.set_state(image.handle, "retiring")
  local why = reason_to_hold(image)
  if why then return hold(owner, image, why) end
  if is_direct and not is_in_use(image) then return unload(owner, image, true) end
  task.start("unloading " .. owner.name, function()
    task.wait(function() return not is_in_use(image) end)
    unload(owner, image)
  end)
end

--- Keeps the image that was live until now, for plugin:rollback().
function M.keep(owner, image)
  core.set_state(image.handle, "kept")
  table.insert(owner.kept, 1, image)
end

--- Unloads what is kept beyond the number asked for.
function M.sweep(owner, is_direct)
  while #owner.kept > owner.options.keep do
    M.unload(owner, table.remove(owner.kept), is_direct)
  end
end

return M
