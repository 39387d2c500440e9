--- Image objects: what events and migrations get as `new` and `old`.
local core = require "hotlua.core"

local Image = {}

-- Made when somebody looks: most reloads need none of them.
local made = {
  api = function(self) return core.new_api(self.handle) end,
  types = function(self) return core.new_types(self.handle) end,
  enums = function(self) return core.new_enums(self.handle) end,
  build_id = function(self) return core.image_info(self.handle).build_id end,
}

local Meta = { __name = "hotlua.image" }

function Meta.__index(self, key)
  if not made[key] then return Image[key] end
  self[key] = made[key](self)
  return self[key]
end

function Meta.__tostring(self)
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

--- An object for a loaded image: `generation`, `build_id`, `api`, `types`, `enums`.
--- @param handle userdata
--- @param plugin table
--- @param generation integer that it will have
function M.new(handle, plugin, generation)
  return setmetatable({ handle = handle, plugin = plugin, generation = generation }, Meta)
end

return M
