--- Change objects: what a policy decides about.
local check = require "hotlua.check"
local command = require "hotlua.command"
local core = require "hotlua.core"
local rehearse = require "hotlua.rehearse"
local task = require "hotlua.task"
local uv = require "luv"

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

--- Tries the change in a forked copy of the process first: see the option `rehearse`.
--- @param settings (fun(api: table)|"shadow"|table)? a function to run there, or all that `rehearse` takes
--- @return boolean
--- @return string? reason
function Change:rehearse(settings)
  local read, message = rehearse.read(settings or true)
  if not read then error("change:rehearse: " .. message, 2) end
  return self.try_first(read)
end

--- What hot.check says of the live image against the file.
--- @return table
function Change:diff()
  return check.images(self.owner.live.handle, self.image, self.owner.options)
end

-- The last line of busted's that counts, and the first failure in its own words.
local function summary(output, how)
  local counts = output:match("%d+ success[^\n]*")
  local failure = output:match("\n%a+ %-> [^\n]*\n(.*)")
  if not counts then return how .. ": " .. output:sub(-500) end
  return counts .. (failure and "\n" .. failure:gsub("%s+$", "") or "")
end

--- Runs specs against the new version in a process of its own, where t.load of the plugin's file gives the
--- new version. The live image goes on meanwhile.
--- @param path string of a spec file or a folder of them
--- @param limit_s number? seconds without a word after which it is ended (60)
--- @return boolean
--- @return string? reason what busted said
function Change:test(path, limit_s)
  local ok, how, output = command.run {
    "/usr/bin/env", "HOTLUA_PLUGIN=" .. self.path, "HOTLUA_CANDIDATE=" .. core.image_info(self.image).path,
    uv.exepath(), "test", "--isolate", ("--limit=%d"):format(limit_s or 60), "--output=plainTerminal", path,
  }
  if ok then return true end
  return false, ("%s: %s"):format(path, summary(output, how))
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
