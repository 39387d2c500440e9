--- Reports: the record of one reload. A plain table that prints as one line.
local M = {}

local Report = {}
Report.__name = "hotlua.report"

local lists = { "added", "removed", "changed", "kept", "converted", "reset", "conflicts", "repointed", "held" }

local function milliseconds(us)
  return ("%.2f ms"):format(us / 1000)
end

local function counts(self)
  local parts = {}
  for _, name in ipairs(lists) do
    local list = rawget(self, name) or {}
    if #list > 0 then parts[#parts + 1] = ("%s %d"):format(name, #list) end
  end
  return #parts > 0 and ": " .. table.concat(parts, ", ") or ""
end

function Report:__tostring()
  if self.unchanged then
    return ("%s: unchanged, generation %d stays live"):format(self.plugin, self.generation)
  end
  if not self.ok then
    return ("%s: refused at stage '%s', generation %d stays live: %s"):format(
      self.plugin, self.stage, self.generation, self.error)
  end
  return ("%s: generation %d is live after %s (pause %s)%s"):format(
    self.plugin, self.generation, milliseconds(self.total_us), milliseconds(self.pause_us), counts(self))
end

--- A new report, not yet ok.
--- @param name string of the plugin
--- @param generation integer the live one, 0 for none
function M.new(name, generation)
  local report = {
    ok = false, plugin = name, generation = generation, from = generation, us = {}, pause_us = 0, total_us = 0,
  }
  for _, list in ipairs(lists) do report[list] = {} end
  return setmetatable(report, Report)
end

--- Leaves the named lists to be worked out at the first look: `work()` returns them in order.
function M.fill_later(report, names, work)
  local is_late = {}
  for _, name in ipairs(names) do
    report[name] = nil
    is_late[name] = true
  end
  local function fill()
    setmetatable(report, Report)
    local results = { work() }
    for i, name in ipairs(names) do report[name] = results[i] end
  end
  setmetatable(report, {
    __name = Report.__name,
    __tostring = Report.__tostring,
    __index = function(_, key)
      if not is_late[key] then return nil end
      fill()
      return report[key]
    end,
    __pairs = function()
      fill()
      return next, report
    end,
  })
end

--- Takes over the lists of a carry, and the reasons as `report.why[path]`.
function M.add_findings(report, findings)
  for _, name in ipairs(lists) do
    if findings[name] then
      report[name] = findings[name]
      table.sort(report[name])
    end
  end
  report.why = findings.why
end

return M
