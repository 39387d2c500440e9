--- Groups: plugins that reload together, all or none, with one instant of commit.
local core = require "hotlua.core"
local event = require "hotlua.event"
local plugin = require "hotlua.plugin"
local reload = require "hotlua.reload"
local task = require "hotlua.task"

local M = {}

local Group = {}
Group.__index = Group
Group.__name = "hotlua.group"

local GroupReport = { __name = "hotlua.report" }

function GroupReport:__tostring()
  local lines = {}
  for _, name in ipairs(self.plugins) do
    local report = self.reports[name]
    if report then lines[#lines + 1] = tostring(report) end
  end
  if self.error then table.insert(lines, 1, ("group refused: %s"):format(self.error)) end
  return table.concat(lines, "; ")
end

-- Begins a transaction for each member; those whose content is the live image's take no part.
local function prepare(transactions, reports, owners, kind, seen)
  for _, owner in ipairs(owners) do
    local transaction = reload.begin(owner, { kind = kind, seen = seen })
    transactions[#transactions + 1] = transaction
    local ended = transaction:prepare()
    if ended == "unchanged" then
      transaction:stop_clock()
      transaction.report.ok, transaction.report.unchanged = true, true
      reports[owner.name] = transaction.report
      transaction.is_out = true
    elseif ended then
      return ended
    end
  end
end

local function each_in(transactions, visit)
  for _, transaction in ipairs(transactions) do
    if not transaction.is_out then visit(transaction) end
  end
end

-- All of them or none. Returns a report, or nil when it was superseded or left alone.
local function run(self, kind, seen)
  local transactions, reports, report = {}, {}, { ok = false, reports = {}, plugins = {} }
  report.reports = reports
  for i, owner in ipairs(self.owners) do report.plugins[i] = owner.name end
  local ok, outcome = pcall(function()
    local ended = prepare(transactions, reports, self.owners, kind, seen)
    if ended then return ended end
    local members = {}
    each_in(transactions, function(transaction) members[#members + 1] = transaction end)
    each_in(transactions, function(transaction) transaction:introduce() end)
    if members[1] then reload.stop_threads(members) end
    each_in(transactions, function(transaction) transaction:bring_over() end)
    each_in(transactions, function(transaction) transaction:inject("commit") end)
    each_in(transactions, function(transaction) transaction:commit() end)
  end)
  if not ok then each_in(transactions, function(transaction) transaction:undo() end) end
  reload.release_threads(transactions)
  each_in(transactions, function(transaction) transaction:stop_clock() end)
  if ok and outcome then
    each_in(transactions, function(transaction) transaction:close_new() end)
    return nil
  end
  report.ok = ok
  each_in(transactions, function(transaction)
    local owner = transaction.owner
    reports[owner.name] = ok and transaction:finish_committed() or transaction:finish_failed(outcome)
  end)
  if not ok then
    local failed = reports[self.owners[#transactions].name]
    report.stage, report.error = failed.stage, failed.error
  end
  return setmetatable(report, GroupReport)
end

local function fire(self, name, report)
  event.fire(self.handlers, name, function(message)
    task.on_error(message, ("error in a '%s' handler"):format(name))
  end, name == "loaded" and self or report, report)
end

local function run_exclusively(self, kind, seen)
  for _, owner in ipairs(self.owners) do
    if owner.busy and task.can_wait() then task.wait(function() return not owner.busy end) end
    owner.busy = coroutine.running()
  end
  local ok, report = pcall(run, self, kind, seen)
  for _, owner in ipairs(self.owners) do owner.busy = nil end
  if not ok then error(report, 0) end
  if report then fire(self, report.ok and "loaded" or "failed", report) end
  return report
end

--- Reloads all members or none; policies are not asked.
--- @return table|nil report { ok, reports = { name = report }, stage, error }
--- @return table? report when it was refused
function Group:reload()
  local report = run_exclusively(self, "reload")
  if report.ok then return report end
  return nil, report
end

--- Adds a handler: `loaded(group, report)` or `failed(report)` for the whole.
function Group:on(name, fn)
  return event.add(self.handlers, name, fn)
end

-- A member's file changed: what else changes within `settle` ms is part of the same reload.
local function on_change(self, seen)
  self.pending, self.changed_at = true, seen
  if self.is_running then return end
  self.is_running = true
  task.start("reloading a group", function()
    while self.pending do
      while (core.now() - self.changed_at) / 1e6 < self.settle do
        task.sleep(self.settle - (core.now() - self.changed_at) / 1e6)
      end
      self.pending = false
      for _, owner in ipairs(self.owners) do owner.pending = false end
      run_exclusively(self, "change", self.changed_at)
    end
    self.is_running = false
  end)
end

--- Makes a group. A plugin is a member of one group at most.
--- @param members table list of plugins, in the order of their migrations; `settle` = ms in which
--- changes of several files count as one (20)
function M.new(members)
  local self = setmetatable({ owners = {}, handlers = {}, settle = members.settle or 20 }, Group)
  for i, member in ipairs(members) do
    local owner = plugin.owner_of(member)
    if owner.group then
      error(("hot.group: plugin '%s' is in a group already"):format(owner.name), 2)
    end
    self.owners[i] = owner
  end
  if #self.owners == 0 then error("hot.group: a list of plugins expected", 2) end
  for _, owner in ipairs(self.owners) do
    owner.group = self
    owner.on_group_change = function(seen) on_change(self, seen) end
  end
  return self
end

return M
