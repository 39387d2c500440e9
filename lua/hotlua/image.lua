--- Image objects: what events and migrations get as `new` and `old`.
local core = require "hotlua.core"

local Image = {}
Image.__index = Image
Image.__name = "hotlua.image"

function Image:__tostring()
  return ("image: %s generation %d (%s)"):format(self.plugin.name, self.generation, self:info().state)
end

--- As new: refuses this reload (in `before_load` and `migrate`). As old: keeps the image loaded (in
--- `before_unload`) until `release()`.
--- @param reason string?
function Image:cancel(reason)
  self.cancelled = reason or "cancelled"
end

--- Lets go of an image that `cancel` kept: it is unloaded as soon as no call is inside.
function Image:release()
  if not self.cancelled or self.is_new then return end
  self.cancelled = nil
  if self.on_release then self.on_release() end
end

--- @return table { generation, state, base, size, why, build_id, source, path }
function Image:info()
  return core.image_info(self.handle)
end

local M = {}

--- An object for a loaded image.
--- @param handle userdata
--- @param plugin table
function M.new(handle, plugin)
  local info = core.image_info(handle)
  return setmetatable({
    handle = handle,
    plugin = plugin,
    generation = info.generation,
    build_id = info.build_id,
    api = core.new_api(handle),
    types = core.new_types(handle),
    enums = core.new_enums(handle),
  }, Image)
end

return M
