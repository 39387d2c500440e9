--- The policies that come with hotlua. Each is a plain function of a change that returns true to take it,
--- false and a reason to refuse it, or nil to leave it for plugin:reload(); it runs as a task and may wait.
local M = {}

-- At the line that makes the policy, not when a change comes.
local function check(is_right, position, policy, wanted, got, level)
  if is_right then return end
  local message = "bad argument #%d to 'hot.policy.%s' (%s expected, got %s)"
  error(message:format(position, policy, wanted, type(got)), level or 4)
end

local function check_function(fn, position, policy)
  check(type(fn) == "function" or (getmetatable(fn) or {}).__call, position, policy, "function", fn)
end

local function check_number(n, position, policy)
  check(type(n) == "number", position, policy, "number", n)
end

local function check_string(text, position, policy, level)
  check(type(text) == "string", position, policy, "string", text, level)
end

--- Takes every change at once.
function M.immediate(_)
  return true
end

--- Takes every change at once, and does not stop the calls of other threads for it where nothing is carried:
--- with carry = "none" and no migrate. Each call runs in the old image or in the new one, as it comes.
function M.no_stop(change)
  change.stops_threads = false
  return true
end

--- Takes a change when its file has been quiet for `ms` milliseconds.
function M.settle(ms)
  check_number(ms, 1, "settle")
  return function(change)
    change:settle(ms)
    return true
  end
end

--- Takes no change by itself: plugin:reload() does.
function M.manual(_)
  return nil, "waits for plugin:reload()"
end

--- Refuses what would break a signature that is there, or lose state.
function M.compatible(change)
  local diff = change:diff()
  if diff.compatible then return true end
  return false, table.concat(diff.reasons, "; ")
end

--- Takes a change that a forked copy of the process has lived through: see change:rehearse.
--- @param settings (fun(api: table)|"shadow"|table)?
function M.rehearsed(settings)
  return function(change)
    return change:rehearse(settings)
  end
end

--- Takes a change whose specs pass: see change:test.
--- @param spec_path string a spec file or a folder of them
--- @param limit_s number? seconds without a word after which the run is ended (60)
function M.tested(spec_path, limit_s)
  check_string(spec_path, 1, "tested")
  return function(change)
    return change:test(spec_path, limit_s)
  end
end

--- Takes a change when `predicate()` says that this is a good moment.
function M.idle(predicate)
  check_function(predicate, 1, "idle")
  return function(change)
    return change:wait(predicate) or nil
  end
end

local function minutes(clock, position)
  check_string(clock, position, "window", 5)
  local hour, minute = clock:match("^(%d%d?):(%d%d)$")
  local time = hour and tonumber(hour) * 60 + tonumber(minute)
  if not time or tonumber(minute) > 59 or time > 24 * 60 then
    error(("hot.policy.window: a time like \"22:00\" expected, got \"%s\""):format(clock), 3)
  end
  return time
end

--- Takes changes only between two local times, also over midnight: window("22:00", "06:00").
--- Others wait. From a time to the same time is the whole day.
--- @param now (fun(): table)? gives os.date("*t"); for tests
function M.window(from, to, now)
  local first, last = minutes(from, 1), minutes(to, 2)
  now = now or function() return os.date("*t") end
  return function(change)
    local function is_open()
      local time = now()
      local minute = time.hour * 60 + time.min
      if first < last then return minute >= first and minute < last end
      return minute >= first or minute < last
    end
    while not is_open() do
      if change:superseded() then return nil end
      change:sleep(1000)
    end
    return true
  end
end

--- Takes a change that every given policy takes, asked in order.
function M.all(...)
  local policies = { ... }
  for i = 1, select("#", ...) do check_function(policies[i], i, "all") end
  return function(change)
    for _, policy in ipairs(policies) do
      local verdict, reason = policy(change)
      if not verdict then return verdict, reason end
    end
    return true
  end
end

return M
