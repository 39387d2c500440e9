--- Groups: plugins that reload together, all or none, with one instant of commit.
local core = require "hotlua.core"
local event = require "hotlua.event"
local plugin = require "hotlua.plugin"
local reload = require "hotlua.reload"
local rollback = require "hotlua.rollback"
local task = require "hotlua.task"

local M = {}

local settle_ms = 20 -- changes of several files within this time are one

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

-- The members such that those that others are linked with come first.
local function by_dependency(owners)
  local ordered, by_handle, is_done = {}, {}, {}
  for _, owner in ipairs(owners) do by_handle[owner.handle] = owner end
  local function visit(owner)
    if is_done[owner] then return end
    is_done[owner] = true
    for _, handle in ipairs(owner.live and core.linked(owner.live.handle) or {}) do
      if by_handle[handle] then visit(by_handle[handle]) end
    end
    ordered[#ordered + 1] = owner
  end
  for _, owner in ipairs(owners) do visit(owner) end
  return ordered
end

-- Is it linked with one that gets a new image?
local function uses_new(owner, transactions)
  for _, handle in ipairs(owner.live and core.linked(owner.live.handle) or {}) do
    for _, transaction in ipairs(transactions) do
      if transaction.owner.handle == handle and not transaction.is_out then return true end
    end
  end
  return false
end

local function leave_out(transaction, reports)
  transaction:stop_clock()
  transaction.report.ok, transaction.report.unchanged = true, true
  reports[transaction.owner.name] = transaction.report
  transaction.is_out = true
end

-- Begins a transaction for each member, up to its verified copy; those whose content is the live image's take
-- no part, unless they are linked with one that does.
local function look(transactions, reports, owners, kind, seen)
  local links = {}
  for _, owner in ipairs(by_dependency(owners)) do
    local transaction = reload.begin(owner, {
      kind = kind, seen = seen, links = links, is_forced = uses_new(owner, transactions),
    })
    transactions[#transactions + 1] = transaction
    local ended = transaction:look()
    transaction:pause_ends()
    if ended == "unchanged" then
      leave_out(transaction, reports)
    elseif ended then
      return ended
    end
  end
end

-- Were these contents refused together the last time? One that is the live image's again was another then.
local function is_refused_again(transactions)
  for _, transaction in ipairs(transactions) do
    local is_same
    if transaction.is_out then
      is_same = not transaction.owner.refused
    else
      is_same = transaction:is_refused_again()
    end
    if not is_same then return false end
  end
  return true
end

-- Asks the policies and opens the images, those that others are linked with first.
local function decide(transactions)
  for _, transaction in ipairs(transactions) do
    if not transaction.is_out then
      transaction:pause_begins()
      local ended = transaction:decide()
      transaction:pause_ends()
      if ended then return ended end
      table.insert(transaction.links, transaction.new_handle)
    end
  end
end

-- Those that take part, in the order of the members.
local function select_members(transactions, owners)
  local members, by_owner = {}, {}
  for _, transaction in ipairs(transactions) do
    if not transaction.is_out then by_owner[transaction.owner] = transaction end
  end
  for _, owner in ipairs(owners) do members[#members + 1] = by_owner[owner] end
  return members
end

-- What `new.group` and `old.group` give: the images of all members by name, also of those that take no part.
local function introduce_each_other(members, owners)
  local new, old = {}, {}
  for _, owner in ipairs(owners) do new[owner.name], old[owner.name] = owner.live, owner.live end
  for _, transaction in ipairs(members) do new[transaction.owner.name] = transaction.new end
  for _, transaction in ipairs(members) do
    transaction.new.group, transaction.owner.live.group = new, old
  end
end

-- Every step for all members before the next one.
local function take_through(members, owners)
  for _, transaction in ipairs(members) do
    transaction:pause_begins()
    transaction:stage("bind", transaction.bind)
  end
  introduce_each_other(members, owners)
  for _, transaction in ipairs(members) do transaction:stage("before_load", transaction.before_load) end
  for _, transaction in ipairs(members) do transaction:rehearse() end
  if members[1] then reload.stop_threads(members) end
  for _, transaction in ipairs(members) do transaction:stage("carry", transaction.carry_state) end
  for _, transaction in ipairs(members) do transaction:stage("migrate", transaction.migrate) end
  for _, transaction in ipairs(members) do transaction:inject("commit") end
  for _, transaction in ipairs(members) do transaction:commit() end
end

-- Remembers what was refused together, until a member's content changes. A policy's refusal and a put-off are
-- about the moment; and where not all contents were seen nothing is known of the whole.
local function remember_refusal(transactions, owners, was_seen)
  for _, owner in ipairs(owners) do
    if not was_seen then owner.refused = nil end
  end
  for _, transaction in ipairs(transactions) do
    if transaction.is_out then transaction.owner.refused = nil end
  end
end

-- Ends the transactions of the members. Returns the stage and the message of the one that failed.
local function finish(members, reports, ok, problem)
  local stage, message
  for _, transaction in ipairs(members) do
    local own = ok and transaction:finish_committed() or transaction:finish_failed(problem)
    reports[transaction.owner.name] = own
    if not ok then stage, message = own.stage, own.error end
  end
  return stage, message
end

-- All of them or none. Returns a report, or nil when it was superseded or left alone.
local function run(owners, kind, seen)
  local transactions, reports, was_seen = {}, {}, false
  local report = { ok = false, reports = reports, plugins = {} }
  for i, owner in ipairs(owners) do report.plugins[i] = owner.name end
  local ok, outcome = pcall(function()
    local ended = look(transactions, reports, owners, kind, seen)
    if ended then return ended end
    was_seen = true
    if kind == "change" and is_refused_again(transactions) then return "declined" end
    ended = decide(transactions)
    if ended then return ended end
    take_through(select_members(transactions, owners), owners)
  end)
  if not ok then
    for _, transaction in ipairs(transactions) do transaction:undo() end
  end
  reload.release_threads(transactions)
  local members = select_members(transactions, owners)
  for _, transaction in ipairs(members) do
    transaction:stop_clock()
    if transaction.owner.live then transaction.owner.live.group = nil end
    if transaction.new then transaction.new.group = nil end
    if ok and outcome then transaction:close_new() end
  end
  if ok and outcome then return nil end
  report.ok, report.unchanged = ok, ok and #members == 0 or nil
  report.stage, report.error = finish(members, reports, ok, outcome)
  if not ok and report.stage ~= "settle" then remember_refusal(transactions, owners, was_seen) end
  return setmetatable(report, GroupReport)
end

local function fire(self, name, report)
  event.fire(self.handlers, name, function(message)
    task.on_error(message, ("error in a '%s' handler"):format(name))
  end, name == "loaded" and self or report, report)
end

-- Those that are not closed: a plugin that is closed leaves its group.
local function open_owners(self)
  local owners = {}
  for _, owner in ipairs(self.owners) do
    if not owner.is_closed then owners[#owners + 1] = owner end
  end
  return owners
end

-- A refusal because a member is being reloaded, and here nothing can wait for that.
local function refuse_busy(owners, busy)
  local report = { ok = false, reports = {}, plugins = {}, stage = "detect" }
  for i, owner in ipairs(owners) do report.plugins[i] = owner.name end
  report.error = ("another reload of plugin '%s' is in progress"):format(busy.name)
  return setmetatable(report, GroupReport)
end

-- Nobody else reloads the owners from here on. Returns the one that is being reloaded if that cannot be waited for.
local function occupy(owners)
  local here = coroutine.running()
  local function find_busy()
    for _, owner in ipairs(owners) do
      if owner.busy then return owner end
    end
  end
  local busy = find_busy()
  if busy and busy.busy == here then
    error(("plugin '%s': a reload cannot be started inside a reload of the same plugin"):format(busy.name), 3)
  end
  if busy and not task.can_wait() then return busy end
  if busy then task.wait(function() return not find_busy() end) end
  for _, owner in ipairs(owners) do owner.busy = here end
end

local function run_exclusively(self, kind, seen)
  local owners = open_owners(self)
  local busy = occupy(owners)
  if busy then return refuse_busy(owners, busy) end
  local ok, report = pcall(run, owners, kind, seen)
  for _, owner in ipairs(owners) do owner.busy = nil end
  if not ok then error(report, 0) end
  if report and not report.unchanged then fire(self, report.ok and "loaded" or "failed", report) end
  return report
end

--- Reloads all members or none; policies are not asked.
--- @return table|nil report { ok, reports = { name = report }, stage, error }
--- @return table? report when it was refused
function Group:reload()
  if #open_owners(self) == 0 then error("hot.group: every plugin of the group is closed", 2) end
  local report = run_exclusively(self, "reload")
  if report.ok then return report end
  return nil, report
end

--- Adds a handler: `loaded(group, report)` or `failed(report)` for the whole.
function Group:on(name, fn)
  return event.add(self.handlers, name, fn)
end

local function take_changes(self)
  while self.pending do
    while (core.now() - self.changed_at) / 1e6 < self.settle do
      task.sleep(self.settle - (core.now() - self.changed_at) / 1e6)
    end
    self.pending = false
    for _, owner in ipairs(self.owners) do owner.pending = false end
    run_exclusively(self, "change", self.changed_at)
  end
end

-- A member's file changed: what else changes within `settle` ms is part of the same reload.
local function on_change(self, seen)
  self.pending, self.changed_at = true, seen
  if self.is_running then return end
  self.is_running = true
  task.start("reloading a group", function()
    local ok, message = pcall(take_changes, self)
    self.is_running = false
    if not ok then error(message, 0) end
  end)
end

-- Plugins that belong together by themselves ---------------------------------------------------------

-- The owners that are linked with this one, directly or not, itself among them, in the order of loading. With
-- `is_needed` only as DT_NEEDED says, otherwise through hot_symbol, too.
local function linked(owner, is_needed)
  if not core.has_links() then return { owner } end
  local owners, by_handle, friends = plugin.open_owners(), {}, {}
  for _, other in ipairs(owners) do by_handle[other.handle], friends[other] = other, {} end
  local function befriend(one, handles)
    for _, handle in ipairs(handles) do
      local other = by_handle[handle]
      if other and not other.group and not one.group then
        friends[one][#friends[one] + 1] = other
        friends[other][#friends[other] + 1] = one
      end
    end
  end
  for _, other in ipairs(owners) do
    if other.live then
      local needed, called = core.linked(other.live.handle)
      befriend(other, needed)
      if not is_needed then befriend(other, called) end
    end
  end
  local is_in, list = {}, {}
  local function visit(one)
    if is_in[one] then return end
    is_in[one] = true
    for _, other in ipairs(friends[one] or {}) do visit(other) end
  end
  visit(owner)
  for _, other in ipairs(owners) do
    if is_in[other] then list[#list + 1] = other end
  end
  return list
end

local function new_linked(owners)
  return setmetatable({ owners = owners, handlers = {}, settle = settle_ms, is_linked = true }, Group)
end

--- Do changes of this plugin wait for those of others?
function plugin.is_linked(owner)
  return #linked(owner) > 1
end

--- A change of a plugin that is linked with others: what else of them changes within some ms is part of the
--- same reload. False: it is linked with none.
function plugin.on_linked_change(owner, seen)
  local owners = linked(owner)
  if #owners < 2 then return false end
  local self = owner.linked_group
  if not (self and self.is_running) then self = new_linked(owners) end
  self.owners = owners
  for _, other in ipairs(owners) do other.linked_group = self end
  on_change(self, seen)
  return true
end

--- plugin:reload() of one that is in a group, that others are linked with, or that is linked with others.
--- @return table|nil report of that plugin; nil, nil: it may go alone
--- @return table? report when it was refused
function plugin.reload_linked(owner)
  local owners = owner.group and owner.group.owners or linked(owner, true)
  if #owners < 2 then return nil end
  local report, refusal = (owner.group or new_linked(owners)):reload()
  if report then return report.reports[owner.name] end
  return nil, refusal.reports[owner.name] or refusal
end

--- The plugins whose live image is linked with this one: they go back with it.
function rollback.users(image)
  local users = {}
  for _, owner in ipairs(core.has_links() and plugin.open_owners() or {}) do
    if owner.live and core.is_linked_with(owner.live.handle, image.handle) then users[#users + 1] = owner end
  end
  return users
end

local function new_member(self, member)
  local owner = plugin.owner_of(member)
  if owner.is_closed then error(("hot.group: plugin '%s' is closed"):format(owner.name), 3) end
  if owner.group then error(("hot.group: plugin '%s' is in a group already"):format(owner.name), 3) end
  for _, other in ipairs(self.owners) do
    if other == owner then error(("hot.group: plugin '%s' is in the list twice"):format(owner.name), 3) end
  end
  return owner
end

--- Makes a group. A plugin is a member of one group at most.
--- @param members table list of plugins, in the order of their migrations; `settle` = ms in which
--- changes of several files count as one (20)
function M.new(members)
  if type(members) ~= "table" or #members == 0 then error("hot.group: a list of plugins expected", 2) end
  local self = setmetatable({ owners = {}, handlers = {}, settle = members.settle or settle_ms }, Group)
  for i, member in ipairs(members) do self.owners[i] = new_member(self, member) end
  for _, owner in ipairs(self.owners) do
    owner.group = self
    owner.on_group_change = function(seen) on_change(self, seen) end
  end
  return self
end

return M
