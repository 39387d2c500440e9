--- Reports: the record of one reload. A plain table that prints as one line.
local core = require "hotlua.core"

local M = {}

local Report = {}
Report.__name = "hotlua.report"

local lists = {
  "added", "removed", "changed", "kept", "converted", "reset", "conflicts", "repointed", "held",
}

local function milliseconds(us)
  return ("%.2f ms"):format(us / 1000)
end

-- Reading the types of all exports is not worth a line.
local is_costly = { added = true, removed = true, changed = true }

local function counts(self)
  local parts = {}
  for _, name in ipairs(lists) do
    local list = is_costly[name] and (rawget(self, name) or {}) or self[name]
    if #list > 0 then parts[#parts + 1] = ("%s %d"):format(name, #list) end
  end
  return #parts > 0 and ": " .. table.concat(parts, ", ") or ""
end

-- Without a traceback or the output of a compiler.
local function first_line(text)
  return (tostring(text):gsub("\n.*", ""))
end

function Report:__tostring()
  if self.unchanged then
    return ("%s: unchanged, generation %d stays live"):format(self.plugin, self.generation)
  end
  if not self.ok then
    local live = self.generation > 0 and (", generation %d stays live"):format(self.generation) or ""
    return ("%s: refused at stage '%s'%s: %s"):format(self.plugin, self.stage, live, first_line(self.error))
  end
  return ("%s: generation %d is live after %s (pause %s)%s"):format(
    self.plugin, self.generation, milliseconds(self.total_us), milliseconds(self.pause_us), counts(self))
end

local late = setmetatable({}, { __mode = "k" }) -- report -> { field = function that fills it and its like }

function Report:__index(key)
  local work = late[self] and late[self][key]
  if not work then return nil end
  work()
  return rawget(self, key)
end

function Report:__pairs()
  for key in next, late[self] or {} do local _ = self[key] end
  return next, self
end

--- A new report, not yet ok.
--- @param name string of the plugin
--- @param generation integer the live one, 0 for none
function M.new(name, generation)
  local report = {
    ok = false, plugin = name, generation = generation, from = generation,
    us = {}, pause_us = 0, total_us = 0,
  }
  for _, list in ipairs(lists) do report[list] = {} end
  return setmetatable(report, Report)
end

--- Leaves the named fields to be worked out at the first look: `work()` returns them in order.
function M.fill_later(report, names, work)
  late[report] = late[report] or {}
  local function fill()
    local results = { work() }
    for i, name in ipairs(names) do
      report[name] = results[i]
      late[report][name] = nil
    end
  end
  for _, name in ipairs(names) do
    report[name] = nil
    late[report][name] = fill
  end
end

local found = { "kept", "converted", "reset", "conflicts", "repointed", "held", "why" }

--- The lists of a carry that has run, and the reasons as `report.why[path]`.
function M.add_findings(report, carry)
  M.fill_later(report, found, function()
    local findings, results = core.carry_findings(carry), {}
    for i, name in ipairs(found) do
      results[i] = findings[name]
      table.sort(results[i])
    end
    return table.unpack(results)
  end)
end

return M
