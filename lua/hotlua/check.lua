--- What a reload would keep, reset and refuse, from two images' types alone.
local core = require "hotlua.core"

local M = {}

local function sorted(list)
  table.sort(list)
  return list
end

--- The exports that came, went and changed their C type, as sorted lists.
--- @param old userdata image handle
--- @param new userdata image handle
--- @return string[] added, string[] removed, string[] changed
function M.exports(old, new)
  local before, after = core.export_names(old), core.export_names(new)
  local added, removed, changed = {}, {}, {}
  for name in pairs(after) do
    if not before[name] then
      added[#added + 1] = name
    elseif core.same_signature(old, new, name) == false then
      changed[#changed + 1] = name
    end
  end
  for name in pairs(before) do
    if not after[name] then removed[#removed + 1] = name end
  end
  return sorted(added), sorted(removed), sorted(changed)
end

--- The whole comparison of two verified images.
--- @param options table? of hot.load: `carry`, `cdef`
--- @return table { added, removed, changed, kept, converted, reset, conflicts, repointed, held,
--- why,
---   compatible, reasons }
function M.images(old, new, options)
  options = options or {}
  core.read_types(old, options.cdef)
  core.read_types(new, options.cdef)
  local diff = {}
  diff.added, diff.removed, diff.changed = M.exports(old, new)
  local plan, message = core.carry_plan(old, new, options.carry or "merge")
  local findings = plan and core.carry_describe(plan) or {}
  for _, name in ipairs { "kept", "converted", "reset", "conflicts", "repointed", "held" } do
    diff[name] = sorted(findings[name] or {})
  end
  diff.why = findings.why or {}
  local reasons = {}
  if not plan then reasons[1] = message end
  for _, name in ipairs(diff.removed) do reasons[#reasons + 1] = ("'%s' is gone"):format(name) end
  for _, name in ipairs(diff.changed) do reasons[#reasons + 1] = ("the type of '%s' changed"):format(name) end
  for _, path in ipairs(diff.reset) do
    local why = diff.why[path]
    reasons[#reasons + 1] = ("'%s' would be reset%s"):format(path, why and " (" .. why .. ")" or "")
  end
  diff.reasons = reasons
  diff.compatible = #reasons == 0
  return diff
end

local function verified(path)
  local ok, handle, info = core.take { source = path, name = "check" }
  if not ok then error(info.error, 0) end
  return handle
end

--- The same of two files; raises when one is not a shared object that could be loaded.
function M.files(old, new, options)
  return M.images(verified(old), verified(new), options)
end

return M
