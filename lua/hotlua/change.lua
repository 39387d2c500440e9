--- Change objects: what a policy decides about.
local check = require "hotlua.check"
local core = require "hotlua.core"
local task = require "hotlua.task"

local Change = {}
Change.__index = Change
Change.__name = "hotlua.change"

function Change:__tostring()
  return ("change: %s (%d bytes, build-id %s)"):format(self.path, self.bytes, self.build_id)
end

--- Returns when the file has been quiet for `ms` milliseconds.
function Change:settle(ms)
  local owner = self.owner
  local began = core.now()
  while true do
    local last = owner.watch and core.last_activity(owner.watch) or 0
    local quiet = (core.now() - math.max(last, owner.changed_at or 0)) / 1e6
    if owner.changed_at == nil and last == 0 then quiet = (core.now() - began) / 1e6 end
    if quiet >= ms then return end
    task.sleep(ms - quiet)
  end
end

--- Waits `ms` milliseconds.
function Change:sleep(ms)
  task.sleep(ms)
end

--- Waits until `predicate()` holds; false when `limit_ms` passed or a newer change came first.
--- @return boolean
function Change:wait(predicate, limit_ms)
  local held = task.wait(function() return predicate() or self:superseded() end, limit_ms)
  return held and not self:superseded()
end

--- Has a newer change come meanwhile?
--- @return boolean
function Change:superseded()
  return self.owner.pending or core.is_outdated(self.image)
end

--- What hot.check says of the live image against the file.
--- @return table
function Change:diff()
  return check.images(self.owner.live.handle, self.image, self.owner.options)
end

local M = {}

--- @param owner table the plugin's state
--- @param plugin table its public object
--- @param image userdata the verified, not yet opened image
function M.new(owner, plugin, image, bytes)
  local info = core.image_info(image)
  return setmetatable({
    owner = owner, plugin = plugin, image = image, path = info.source, build_id = info.build_id,
    bytes = bytes, attempt = owner.attempt,
  }, Change)
end

return M
