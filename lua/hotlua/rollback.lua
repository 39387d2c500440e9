--- Back to the generation before: on request, and after a crash.
local core = require "hotlua.core"
local event = require "hotlua.event"
local hold = require "hotlua.hold"
local reports = require "hotlua.report"
local retire = require "hotlua.retire"
local task = require "hotlua.task"

local M = {}

-- Carries the state of `from` into the kept image `to`, which goes on from where it was replaced, except
-- where little or nothing is carried: then it begins anew. Returns the carry, or nil and a message.
local function carry_back(owner, from, to)
  local mode = owner.options.carry
  local is_return = mode == "merge" or mode == "all"
  if not is_return then core.reset_to_pristine(to.handle) end
  local plan, message = core.carry_plan(from.handle, to.handle, mode, is_return)
  if not plan then return nil, message end
  local ok, held = core.carry_run(plan)
  if not ok then
    core.carry_close(plan)
    return nil, held
  end
  from.is_pointed_to = held
  return plan
end

local function refuse(report, message)
  report.stage, report.error = "carry", message
  return report
end

-- Brings the state over and makes `to` live, while no other thread is inside.
local function put_back(owner, from, to, place)
  local carry, message = carry_back(owner, from, to)
  if not carry then return nil, message end
  table.remove(owner.kept, place)
  core.bind(owner.handle, to.handle, to.generation)
  core.carry_commit(carry, true)
  core.carry_close(carry)
  return carry
end

-- The newest kept image that has not crashed, and its place in the list; nil if there is none.
local function find_sound(owner)
  for i, image in ipairs(owner.kept) do
    if not image.broken then return image, i end
  end
end

--- Makes the newest kept generation live again that has not crashed.
--- @param crash string? what happened; nil: it was asked for
--- @param is_forced boolean? also when another thread stays inside
--- @return table report
function M.run(owner, crash, is_forced)
  local began = core.now()
  local from, to, place = owner.live, find_sound(owner)
  local report = reports.new(owner.name, from.generation)
  report.why_rolled_back = crash or "rollback() was called"
  report.error = crash
  if not to then
    report.stage = "detect"
    local message = owner.kept[1] and "%s: each older generation that is kept has crashed (option `keep` is %d)"
      or "%s: no older generation is kept (option `keep` is %d)"
    report.error = message:format(owner.name, owner.options.keep)
    return report
  end
  local stopped, who = hold.stop({ owner }, is_forced or not task.can_wait())
  if not stopped and not is_forced then return refuse(report, ("%s: put off: %s"):format(owner.name, who)) end
  local ok, carry, message = pcall(put_back, owner, from, to, place)
  hold.release({ owner })
  if not ok then error(carry, 0) end
  if not carry then return refuse(report, message) end
  reports.add_findings(report, carry)
  owner.api_stamp = core.fill_api(owner.handle, owner.plugin.api, owner.api_stamp)
  owner.live, owner.refused = to, from.handle
  owner.loaded_at = os.time()
  report.ok, report.generation = true, to.generation
  report.pause_us = (core.now() - began) / 1000
  report.total_us = report.pause_us
  report.us.carry = report.pause_us
  owner.last = report
  event.fire(owner.handlers, "rolled_back", function(problem)
    task.on_error(problem, "error in a 'rolled_back' handler")
  end, report)
  if owner.on_live_changed then owner.on_live_changed() end
  for _, user in ipairs(M.users(from)) do M.run(user, crash, true) end
  retire.unload(owner, from)
  return report
end

local most_crashes <const>, crash_window <const> = 5, 10 * 1000000000 -- within so many ns

-- Crash after crash: going back and taking in the next version would go on for ever.
local function is_braked(owner)
  local now, recent = core.now(), {}
  for _, when in ipairs(owner.crashes or {}) do
    if now - when < crash_window then recent[#recent + 1] = when end
  end
  recent[#recent + 1] = now
  owner.crashes = recent
  return #recent > most_crashes
end

-- The generation that crashed stays live; its functions raise when they crash. The user hears of it.
local function refuse_to_go_back(owner, text)
  local report = reports.new(owner.name, owner.live.generation)
  report.stage = "commit"
  report.error = ("%s: %d crashes within %d s: no further rollback by itself; the last: %s"):format(
    owner.name, #owner.crashes, crash_window // 1000000000, text)
  owner.last = report
  event.fire(owner.handlers, "failed", function(problem)
    task.on_error(problem, "error in a 'failed' handler")
  end, report)
end

--- A call of the live image crashed and was caught: with guard.crash = "rollback" the
--- generation before it is put back.
--- @param generation integer that crashed
--- @param text string what happened
function M.after_crash(owner, generation, text)
  for _, image in ipairs(owner.images) do
    if image.generation == generation then image.broken, image.crashes = text, (image.crashes or 0) + 1 end
  end
  local introduced = owner.introduced
  if introduced and introduced.generation == generation then introduced.broken = text end
  if not owner.live or owner.live.generation ~= generation then return end
  if introduced then return end -- the reload in progress is refused, and comes back here
  owner.failures = owner.failures + 1
  if (owner.options.guard.crash or "rollback") ~= "rollback" or not find_sound(owner) then return end
  if is_braked(owner) then return refuse_to_go_back(owner, text) end
  M.run(owner, text, true)
end

return M
