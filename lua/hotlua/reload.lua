--- The life of a reload: one function that takes a plugin through the named stages. Everything before the
--- commit writes only into the new image, so dropping that image undoes it.
---
---   detect   a change was seen               (watcher thread)
---   copy     private copy of the file        (loader thread)
---   verify   the copy is whole               (loader thread)
---   settle   `changed` and the policy
---   probe    opened in a helper process      (loader thread)
---   open     dlopen, types in use            (loader thread)
---   bind     exports found, expectations met
---   before_load, carry, migrate, commit
local change = require "hotlua.change"
local check = require "hotlua.check"
local core = require "hotlua.core"
local event = require "hotlua.event"
local hold = require "hotlua.hold"
local image = require "hotlua.image"
local policy = require "hotlua.policy"
local rehearse = require "hotlua.rehearse"
local reports = require "hotlua.report"
local retire = require "hotlua.retire"
local rollback = require "hotlua.rollback"
local task = require "hotlua.task"
local trust = require "hotlua.trust"

local M = {}

--- The stages, in the order in which they run (`detect` and `settle` have their places in the
--- report's `us`).
M.stages = {
  "detect", "settle", "copy", "verify", "probe", "open", "bind", "before_load", "carry", "migrate",
  "rehearse", "commit",
}

local Transaction = {}
Transaction.__index = Transaction

local default_probe_ms <const> = 5000
local probe_ms = default_probe_ms -- the longest that a file may take to open and close in the probe

local fail_next -- stage name: the next reload fails there

--- Makes the next load or reload of any plugin fail at that stage (for tests). nil takes it back.
function M.fail_at(stage)
  local known = stage == nil
  for _, name in ipairs(M.stages) do known = known or name == stage end
  if not known then
    error(("no stage '%s'; there are %s"):format(stage, table.concat(M.stages, ", ")), 2)
  end
  fail_next = stage
end

--- Sets how long a file may take in the probe (for tests). nil takes it back.
function M.probe_limit(ms)
  probe_ms = ms or default_probe_ms
end

-- A failure of a stage travels as this; anything else is a bug of ours and keeps its traceback.
local Failure = {}

local function fail(stage, message)
  error(setmetatable({ stage = stage, message = message }, Failure), 0)
end

local function with_traceback(message)
  if getmetatable(message) == Failure then return message end
  return debug.traceback(tostring(message), 2)
end

-- Fails here if that was asked for (M.fail_at).
function Transaction:inject(stage)
  if self.fail ~= stage then return end
  fail(stage, ("%s: failure injected at stage '%s'"):format(self.owner.path, stage))
end

-- Times one stage that runs on this thread. What it raises becomes the report's error.
function Transaction:stage(name, fn, ...)
  local began = core.now()
  self.current = name
  self:inject(name)
  local results = table.pack(xpcall(fn, with_traceback, self, ...))
  self.report.us[name] = (core.now() - began) / 1000
  if not results[1] then
    if getmetatable(results[2]) == Failure then error(results[2], 0) end
    fail(name, tostring(results[2]))
  end
  return table.unpack(results, 2, results.n)
end

-- Runs one of core's jobs on the loader thread, or here when nothing can wait. Its microseconds and its
-- error go into the report; the loop's thread is free meanwhile.
function Transaction:offload(job, spec)
  spec.fail = self.fail
  local ok, handle, info
  self:pause_ends()
  if self.is_direct then
    ok, handle, info = job(spec)
  else
    ok, handle, info = task.await(function(done) job(spec, done) end)
  end
  self:pause_begins()
  return self:take_result(ok, handle, info)
end

-- What a job came to, started here or by the watcher.
function Transaction:take_result(ok, handle, info)
  for name, us in pairs(info.us) do self.report.us[name] = us end
  if not ok then
    if handle then self.new_handle = handle end
    fail(info.stage, info.error)
  end
  return handle, info
end

function Transaction:pause_begins()
  self.held_since = core.now()
end

function Transaction:pause_ends()
  if self.held_since then
    self.report.pause_us = self.report.pause_us + (core.now() - self.held_since) / 1000
    self.held_since = nil
  end
end

-- Has a newer change come, or the end of the plugin, or is another generation live after a rollback, so that
-- this one is not worth finishing?
function Transaction:is_superseded()
  local owner = self.owner
  local is_rolled_back = owner.live ~= self.began_with
  if self.kind == "change" then
    owner.pending = owner.pending or is_rolled_back -- the change is taken once more
    return owner.pending or owner.is_closed
  end
  if owner.is_closed then fail("detect", ("%s: the plugin was closed meanwhile"):format(owner.path)) end
  if is_rolled_back then
    fail("detect", ("%s: generation %d has been rolled back meanwhile"):format(
      owner.path, self.began_with.generation))
  end
  return false
end

-- copy, verify ------------------------------------------------------------------------------------

-- A file that is not whole may still be being written: it is tried again after this much quiet.
local unfinished_ms = 50

-- Copies and verifies; of a changed file a second time if the first try met a file in the making.
function Transaction:take_whole()
  local ok, result = pcall(self.take, self)
  if ok then return result end
  local may_retry = self.kind == "change" and not self.fail and getmetatable(result) == Failure and
    (result.stage == "copy" or result.stage == "verify")
  if not may_retry then error(result, 0) end
  self:pause_ends()
  task.sleep(unfinished_ms)
  self:pause_begins()
  if self:is_superseded() then return false end
  return self:take()
end

-- May the loader go on from the verified copy to the open image, since nobody between them has a say?
local function opens_at_once(owner, kind)
  if owner.options.verify then return false end
  if kind ~= "change" then return true end
  return owner.options.policy == policy.immediate and not owner.refused and
    not event.has(owner.handlers, "changed")
end

-- What core.take and core.open are given.
local function new_request(owner, transaction)
  local options = owner.options
  return {
    links = transaction and transaction.links, again = transaction and transaction.is_forced,
    source = owner.path, name = owner.name:gsub("/", "_"):sub(1, 100), live = owner.live and owner.live.handle,
    cdef = options.cdef,
    probe = not (transaction and transaction.is_rehearsal) and options.probe and probe_ms or nil,
    carry = owner.live and options.carry or nil, trusted = trust.is_needed(owner),
    copies_ahead = not event.has(owner.handlers, "before_load"),
  }
end

--- What a change would be loaded with, as things are now; nil if somebody has to be asked on the way.
function M.request(owner)
  if owner.is_closed or not owner.live or fail_next or not opens_at_once(owner, "change") then return nil end
  local request = new_request(owner)
  request.opens = true
  return request
end

--- Has a first load begun by another thread, for M.run's request.prefetched; nil where that cannot be.
--- @return table? { job }, given to M.drop if it is not run
function M.begin_ahead(owner)
  if fail_next or owner.options.build or not opens_at_once(owner, "load") then return nil end
  return { job = core.begin(new_request(owner)) }
end

local function finish_job(prefetched)
  prefetched.ok, prefetched.handle, prefetched.info = core.finish(prefetched.job)
end

--- Throws away what M.begin_ahead has begun.
function M.drop(prefetched)
  finish_job(prefetched)
  if prefetched.handle then core.close(prefetched.handle) end
end

-- Uses what the watcher or M.begin_ahead has loaded or is about to, if it was loaded as this transaction would;
-- throws it away otherwise.
function Transaction:take_prefetched()
  local prefetched = self.prefetched
  self.prefetched = nil
  if not prefetched then return nil end
  if prefetched.job then
    finish_job(prefetched)
  elseif not prefetched.info then
    self:pause_ends()
    task.await(function(done) prefetched.when_done = done end)
    self:pause_begins()
  end
  local live = self.owner.live
  local is_current = prefetched.info.from == (live and live.generation or 0)
  if not self.fail and prefetched.ok and is_current and opens_at_once(self.owner, self.kind) then
    self.is_open = prefetched.info.opened
    return self:take_result(prefetched.ok, prefetched.handle, prefetched.info)
  end
  if prefetched.handle then core.close(prefetched.handle, function() end) end
  return nil
end

function Transaction:take()
  local owner = self.owner
  local handle, info = self:take_prefetched()
  if not info then
    local request = new_request(owner, self)
    request.opens = not self.links and opens_at_once(owner, self.kind)
    self.is_open = request.opens
    handle, info = self:offload(core.take, request)
  end
  self.new_handle = handle
  self.bytes, self.carry = info.bytes, info.carry
  if not info.unchanged then trust.check_content(owner, handle, fail) end
  return info.unchanged
end

-- settle ------------------------------------------------------------------------------------------

-- The verdict of the policy: true, false with a reason, or nil to leave the change alone.
function Transaction:ask_policy()
  local owner = self.owner
  if self.is_open then return true end -- nobody wanted to be asked
  owner.attempt = owner.attempt + 1
  local subject = change.new(owner, owner.plugin, self.new_handle, self.bytes)
  function subject.try_first(settings) return self:try_first(settings) end
  event.fire(owner.handlers, "changed", function(message)
    fail("settle", "error in a 'changed' handler: " .. tostring(message))
  end, subject)
  self:pause_ends()
  local ok, verdict, reason = xpcall(owner.options.policy, with_traceback, subject)
  self:pause_begins()
  if not ok then fail("settle", "error in the policy: " .. tostring(verdict)) end
  self.stops_threads = subject.stops_threads
  return verdict, reason
end

-- probe, open -------------------------------------------------------------------------------------

function Transaction:open()
  if self.is_open then return end
  local request = new_request(self.owner, self)
  request.image = self.new_handle
  local _, info = self:offload(core.open, request)
  self.carry = info.carry
end

-- bind --------------------------------------------------------------------------------------------

local function check_expectations(self)
  local expected = self.owner.options.expect
  if not expected then return end
  local names = core.export_names(self.new_handle)
  for key, value in pairs(expected) do
    local name = type(key) == "string" and key or value
    if not names[name] then
      fail("bind", ("%s: does not export '%s', which `expect` asks for"):format(self.owner.path, name))
    end
    if type(key) == "string" then
      local same, found = core.matches_declaration(self.new_handle, name, value)
      if not same then
        fail("bind", ("%s: '%s' is not as `expect` asks: wanted %s, found %s"):format(
          self.owner.path, name, value, tostring(found)))
      end
    end
  end
end

-- What was added, removed and changed is worked out when somebody looks: it may take reading many types.
local function compare_exports(self)
  local old, new = self.owner.live and self.owner.live.handle, self.new_handle
  reports.fill_later(self.report, { "added", "removed", "changed" }, function()
    if old then return check.exports(old, new) end
    local added = {}
    for name in pairs(core.export_names(new)) do added[#added + 1] = name end
    table.sort(added)
    return added, {}, {}
  end)
end

function Transaction:bind()
  check_expectations(self)
  compare_exports(self)
  self.new = image.new(self.new_handle, self.owner.plugin, self.owner.generation + 1)
  self.new.is_new = true
  self.old = self.owner.live
  self.old_crashes = self.old and self.old.crashes
  self.owner.introduced = self.new
  core.introduce(self.new_handle, self.owner.handle, self.new.generation)
end

-- before_load, carry, migrate ---------------------------------------------------------------------

-- What the user's functions have done at this stage may be the end of the reload. During a rehearsal they are
-- not at work: if the live image crashes then, in some other call, the new one is what helps.
function Transaction:refuse_if_over(stage)
  local owner = self.owner
  if self.new.cancelled then
    fail(stage, ("%s: cancelled in %s: %s"):format(owner.path, stage, self.new.cancelled))
  end
  if self.new.broken then
    fail(stage, ("%s: the new image crashed in %s: %s"):format(owner.path, stage, self.new.broken))
  end
  if stage ~= "rehearse" and self.old and self.old.crashes ~= self.old_crashes then
    fail(stage, ("%s: the live image crashed in %s: %s"):format(owner.path, stage, self.old.broken))
  end
  if owner.is_closed then fail(stage, ("%s: the plugin was closed in %s"):format(owner.path, stage)) end
end

-- The handlers see a new image that carries nothing yet.
function Transaction:before_load()
  if self.carry and event.has(self.owner.handlers, "before_load") then core.carry_forget_ahead(self.carry) end
  event.fire(self.owner.handlers, "before_load", function(message)
    fail("before_load", "error in a 'before_load' handler: " .. tostring(message))
  end, self.new, self.owner.live)
  self:refuse_if_over("before_load")
end

-- A writer of the old image's state would write into the void after the carry: wait until it is
-- done.
function Transaction:wait_for_borrows()
  local owner = self.owner
  if not core.borrow_writer(owner.handle) then return end
  local limit = self.kind ~= "change" and 1000 or nil
  self:pause_ends()
  local function is_free() return not core.borrow_writer(owner.handle) end
  local free = not self.is_direct and task.wait(is_free, limit)
  self:pause_begins()
  if not free then
    fail("carry", ("%s: a borrow_mut is open: %s"):format(owner.path, core.borrow_writer(owner.handle)))
  end
end

-- Does the plugin's state go from one image to the other?
local function brings_state(self)
  if self.owner.options.migrate then return true end
  if not self.carry then return false end
  local findings = core.carry_describe(self.carry)
  return #findings.kept + #findings.converted + #findings.conflicts + #findings.repointed > 0
end

local function needs_stop(self)
  local owner = self.owner
  if not owner.live or not core.is_shared(owner.handle) then return false end
  local no_stop = self.stops_threads == false or owner.options.policy == policy.no_stop
  return not no_stop or brings_state(self)
end

-- Stops the calls of other threads into these plugins until M.release. Where a thread stays inside, the
-- reload is put off: nothing is wrong with the image.
local function stop_threads(transactions)
  local owners, is_direct = {}, false
  for _, self in ipairs(transactions) do
    is_direct = is_direct or self.is_direct
    if needs_stop(self) then owners[#owners + 1] = self.owner end
  end
  if #owners == 0 then return end
  local self = transactions[1]
  local stopped, who = hold.stop(owners, is_direct)
  if stopped then return end
  self.current, self.is_put_off = "carry", true
  fail("carry", ("%s: put off: %s"):format(self.owner.path, who))
end

-- A writer may have begun before the threads were stopped.
function M.stop_threads(transactions)
  while true do
    for _, self in ipairs(transactions) do self:wait_for_borrows() end
    stop_threads(transactions)
    local is_written = false
    for _, self in ipairs(transactions) do
      is_written = is_written or core.borrow_writer(self.owner.handle) ~= nil
    end
    if not is_written then return end
    M.release_threads(transactions)
  end
end

--- Lets the threads go on that M.stop_threads has stopped.
function M.release_threads(transactions)
  local owners = {}
  for i, self in ipairs(transactions) do owners[i] = self.owner end
  hold.release(owners)
end

function Transaction:carry_state()
  if not self.carry then return end
  local ok, held = core.carry_run(self.carry)
  if not ok then fail("carry", held) end
  self.held = held
  reports.add_findings(self.report, self.carry)
end

function Transaction:migrate()
  local migrate = self.owner.options.migrate
  if not migrate or not self.owner.live then return end
  self.before_migrate = core.save_data(self.owner.live.handle)
  core.set_moved_on(self.new_handle, true) -- until the commit
  migrate(self.new, self.owner.live, self.report)
  self:refuse_if_over("migrate")
end

-- commit ------------------------------------------------------------------------------------------

function Transaction:commit()
  local owner, report = self.owner, self.report
  local old = owner.live
  core.bind(owner.handle, self.new_handle, self.new.generation)
  local is_migrated = self.before_migrate ~= nil
  if is_migrated then
    core.set_moved_on(old.handle, true)
    core.set_moved_on(self.new_handle, false)
    core.drop_data(self.before_migrate)
  end
  if self.carry then core.carry_commit(self.carry, is_migrated) end
  owner.api_stamp = core.fill_api(owner.handle, owner.plugin.api, owner.api_stamp)
  self.new.is_new, owner.introduced = nil, nil
  owner.live, owner.generation = self.new, math.max(owner.generation, self.new.generation)
  owner.images[#owner.images + 1] = self.new
  owner.loaded_at = os.time()
  owner.refused = nil
  report.generation, report.ok = self.new.generation, true
  if old then
    owner.reloads = owner.reloads + 1
    if self.held then old.is_pointed_to = self.held end
    retire.keep(owner, old)
  end
end

-- Failure -----------------------------------------------------------------------------------------

--- Gives the live image's variables back what `migrate` has changed in them, and heap objects what the carry
--- has; all else is in the new image. While the threads that use the plugin are still stopped.
function Transaction:undo()
  if self.before_migrate then core.restore_data(self.before_migrate) end
  if self.carry then core.carry_close(self.carry) end
end

local function describe_failure(self, problem)
  local report = self.report
  report.ok = false
  report.generation = self.owner.live and self.owner.live.generation or 0
  if getmetatable(problem) == Failure then
    report.stage, report.error = problem.stage, problem.message
  else
    report.stage, report.error = self.current or "detect", tostring(problem)
  end
end

-- A crash of the live image in the reload's own course was the end of it; what it asks for comes after that.
local function follow_up_crash(self)
  local owner, old = self.owner, self.old
  if owner.introduced ~= self.new then return end
  owner.introduced = nil
  if old and not owner.is_closed and old.crashes ~= self.old_crashes then
    rollback.after_crash(owner, old.generation, old.broken)
  end
end

function Transaction:finish_failed(problem)
  describe_failure(self, problem)
  -- The content is remembered: it is not tried again until the file changes. Not so after a
  -- policy's refusal, which is about the moment.
  self.report.is_put_off = self.is_put_off
  if self.report.stage ~= "settle" and not self.is_put_off then self.owner.refused = self.new_handle end
  self:close_new()
  local owner = self.owner
  owner.failures = owner.failures + 1
  owner.last = self.report
  event.fire(owner.handlers, "failed", function(message)
    task.on_error(message, "error in a 'failed' handler")
  end, self.report)
  follow_up_crash(self)
  if self.is_put_off and self.kind == "change" then owner.retry_later() end
  return self.report
end

-- A handler of `loaded` may have called what crashes, and the generation before is live again.
local function note_fall(self)
  local live = self.owner.live
  if live == self.new or not self.new.broken then return end
  self.report.ok, self.report.stage = false, "commit"
  self.report.generation = live and live.generation or 0
  self.report.error = ("%s: generation %d was rolled back at once: %s"):format(
    self.owner.path, self.new.generation, self.new.broken)
end

function Transaction:finish_committed()
  local owner = self.owner
  owner.put_off = nil
  owner.last = self.report
  if self.carry then core.carry_close(self.carry) end
  event.fire(owner.handlers, "loaded", function(message)
    task.on_error(message, "error in a 'loaded' handler")
  end, owner.plugin, self.report)
  retire.sweep(owner, self.is_direct)
  note_fall(self)
  return self.report
end

-- rehearse ----------------------------------------------------------------------------------------

--- In a forked copy: all that is left of the transaction, at once and on this thread.
function Transaction:play()
  self.is_direct, self.fail, self.is_rehearsal = true, nil, true
  if not self.new then
    self:open()
    self:introduce()
  end
  self:bring_over()
  self:commit()
end

--- Tries the rest in a copy. The report gets what came of it.
--- @return boolean ok
--- @return string? reason
function Transaction:try_first(settings)
  local ok, reason, result = rehearse.run(self, settings)
  self.report.rehearsal = result
  return ok, reason
end

function Transaction:rehearse()
  self:inject("rehearse")
  local settings = self.owner.rehearsal
  if not settings or not self.owner.live then return end -- a first load replaces nothing
  self:stage("rehearse", function()
    local ok, reason = self:try_first(settings)
    if not ok then fail("rehearse", ("%s: the rehearsal failed: %s"):format(self.owner.path, reason)) end
    self:refuse_if_over("rehearse")
  end)
end

-- The transaction ---------------------------------------------------------------------------------

-- Is it loaded once more only because a plugin that it is linked with is loaded anew?
function Transaction:is_unchanged()
  return self.is_forced and core.same_content(self.owner.live.handle, self.new_handle)
end

-- Up to the verified copy. Returns nil, or "superseded" or "unchanged" when that is the end of it.
function Transaction:look()
  self:pause_begins()
  self:inject("detect")
  if self:take_whole() then return "unchanged" end
  return self:is_superseded() and "superseded" or nil
end

-- Was that content refused the last time?
function Transaction:is_refused_again()
  local refused = self.owner.refused
  return self.kind == "change" and refused ~= nil and core.same_content(refused, self.new_handle)
end

-- From the verified copy to the open image. Returns nil, or "superseded" or "declined" when that is the end of
-- it.
function Transaction:decide()
  local owner = self.owner
  if self.kind == "change" then
    local verdict, reason = true, nil
    if not self:is_unchanged() then verdict, reason = self:stage("settle", self.ask_policy) end
    if self:is_superseded() then return "superseded" end
    if verdict == nil then return "declined" end
    if not verdict then
      local because = reason and ": " .. tostring(reason) or ""
      fail("settle", ("%s: refused by the policy%s"):format(owner.path, because))
    end
  else
    self:inject("settle")
  end
  self:open()
  return self:is_superseded() and "superseded" or nil
end

-- Up to the open image, of a plugin that goes alone.
function Transaction:prepare()
  local ended = self:look()
  if ended then return ended end
  if self:is_refused_again() then return "declined" end
  return self:decide()
end

-- Makes the open image ready to take over: first what others may run beside, then, with their calls stopped,
-- what they may not.
function Transaction:introduce()
  self:stage("bind", self.bind)
  self:stage("before_load", self.before_load)
end

function Transaction:bring_over()
  self:stage("carry", self.carry_state)
  self:stage("migrate", self.migrate)
end

function Transaction:stop_clock()
  self:pause_ends()
  self.report.total_us = (core.now() - self.began) / 1000
end

function Transaction:close_new()
  if self.new_handle then core.close(self.new_handle, not self.is_direct and function() end or nil) end
end

--- Begins a transaction of a plugin; group.lua runs several side by side.
--- @param owner table the plugin's private state
--- @param request table { kind, seen, build_us, links = handles that come in the same commit, is_forced =
---   also when nothing has changed }
function M.begin(owner, request)
  local self = setmetatable({
    owner = owner, kind = request.kind, began = request.seen or core.now(), began_with = owner.live,
    is_direct = request.kind == "load" or not task.can_wait(),
    report = reports.new(owner.name, owner.live and owner.live.generation or 0),
    prefetched = request.prefetched, links = request.links, is_forced = request.is_forced,
  }, Transaction)
  -- A late event of a file that is live already is no reload that a test could mean.
  if request.kind ~= "change" or not owner.live or core.is_outdated(owner.live.handle) then
    self.fail, fail_next = fail_next, nil
  end
  self.report.us.detect = (core.now() - self.began) / 1000
  self.report.us.build = request.build_us
  return self
end

--- Runs one transaction of a plugin.
--- @param owner table the plugin's private state (plugin.lua)
--- @param request table { kind = "load" | "reload" | "change", seen = ns when the change was
--- seen, build_us }
--- @return table|nil report nil when a change was superseded or left alone
--- @return string outcome "committed", "unchanged", "superseded", "declined" or "failed"
function M.run(owner, request)
  local self = M.begin(owner, request)
  local ok, outcome = pcall(function()
    local ended = self:prepare()
    if ended then return ended end
    self:introduce()
    self:rehearse()
    M.stop_threads({ self })
    self:bring_over()
    self:stage("commit", self.commit)
    return "committed"
  end)
  if not ok then self:undo() end
  M.release_threads({ self })
  self:stop_clock()
  if not ok then return self:finish_failed(outcome), "failed" end
  if outcome == "committed" then return self:finish_committed(), outcome end
  if outcome == "unchanged" then
    self.report.ok, self.report.unchanged = true, true
    return self.report, outcome
  end
  self:close_new()
  return nil, outcome
end

return M
