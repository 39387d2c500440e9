--- Rehearsals: a reload tried in a forked copy of the process, which then is gone. What crashes, hangs or
--- exits there does so there only.
local core = require "hotlua.core"
local event = require "hotlua.event"
local task = require "hotlua.task"
local uv = require "luv"

local M = {}

local default_limit_ms <const> = 10000
local default_shadow <const> = 100    -- calls
local default_tolerance <const> = 1e-9

local most_shadow <const> = 100000 -- calls; each takes some 600 bytes

local function is_callable(value)
  return type(value) == "function" or (getmetatable(value) or {}).__call ~= nil
end

-- name -> { what is allowed, in words; check }
local fields = {
  run = { "function", is_callable },
  shadow = { ("whole number from 1 to %d"):format(most_shadow),
    function(v) return type(v) == "number" and math.tointeger(v) and v >= 1 and v <= most_shadow end },
  limit_ms = { "number above 0", function(v) return type(v) == "number" and v > 0 and v < 2 ^ 31 end },
  tolerance = { "number from 0", function(v) return type(v) == "number" and v >= 0 end },
  slower = { "number above 0", function(v) return type(v) == "number" and v > 0 end },
}

--- Reads the option `rehearse`: true, a function, "shadow", or { run, shadow, limit_ms, tolerance, slower }.
--- @return table|nil settings nil: none
--- @return string? message what is wrong with it
function M.read(option)
  if not option then return nil end
  if option == true then return {} end
  if option == "shadow" then return { shadow = default_shadow } end
  if type(option) ~= "table" or (getmetatable(option) or {}).__call then return { run = option } end
  for key, value in pairs(option) do
    local rule = fields[key]
    if not rule then
      local message = "'rehearse' has no field '%s'; there are run, shadow, limit_ms, tolerance, slower"
      return nil, message:format(tostring(key))
    end
    if not rule[2](value) then
      return nil, ("'rehearse': %s is a %s, not %s"):format(key, rule[1], tostring(value))
    end
  end
  return option
end

-- In the copy -------------------------------------------------------------------------------------

local function descriptors()
  local list, own = {}, core.stage_directory() or ""
  local request = uv.fs_scandir("/proc/self/fd")
  for name in function() return request and uv.fs_scandir_next(request) end do
    local target = uv.fs_readlink("/proc/self/fd/" .. name) or ""
    local is_own = own ~= "" and target:sub(1, #own) == own
    if target ~= "" and not is_own and not target:find "^/proc/%d+/fd$" then list[name] = target end
  end
  return list
end

local function leaked(before)
  local list = {}
  for name, target in pairs(descriptors()) do
    if before[name] ~= target then list[#list + 1] = target end
  end
  table.sort(list)
  return list
end

local function show(values)
  local words = {}
  for i = 1, values.n do
    words[i] = type(values[i]) == "string" and ("%q"):format(values[i]) or tostring(values[i])
  end
  return table.concat(words, ", ")
end

local function is_same(a, b, tolerance)
  if math.type(a) == "float" and math.type(b) == "float" then
    if a == b or (a ~= a and b ~= b) then return true end
    return math.abs(a - b) <= tolerance * math.max(math.abs(a), math.abs(b))
  end
  if type(a) == "userdata" and type(b) == "userdata" then return true end
  return a == b
end

local function timed(fn, call)
  local began = core.now()
  local results = table.pack(pcall(fn, table.unpack(call, 1, call.n)))
  return results, (core.now() - began) / 1000
end

-- One call in both images. Returns the difference in words, or nil.
local function compare_call(call, old, new, tolerance, result)
  if type(old[call.name]) ~= "function" or type(new[call.name]) ~= "function" then return nil end
  local was, was_us = timed(old[call.name], call)
  local is, is_us = timed(new[call.name], call)
  result.compared = result.compared + 1
  result.old_us, result.new_us = result.old_us + was_us, result.new_us + is_us
  local same = was[1] == is[1] and (not is[1] or was.n == is.n)
  for i = 2, is[1] and is.n or 0 do same = same and is_same(was[i], is[i], tolerance) end
  if same then return nil end
  local function outcome(results)
    local from = { n = results.n - 1, table.unpack(results, 2, results.n) }
    return results[1] and show(from) or "an error: " .. tostring(results[2])
  end
  return ("%s(%s) gives %s, it gave %s"):format(call.name, show(call), outcome(is), outcome(was))
end

local function compare_calls(owner, old, settings, result)
  local calls, left_out = core.recorded_calls(owner.handle)
  result.left_out, result.compared, result.old_us, result.new_us = left_out, 0, 0, 0
  for _, call in ipairs(calls) do
    local tolerance = settings.tolerance or default_tolerance
    local difference = compare_call(call, old.api, owner.live.api, tolerance, result)
    if difference then result.mismatches[#result.mismatches + 1] = difference end
  end
  if #result.mismatches > 0 then
    error(("%d of %d calls differ: %s"):format(#result.mismatches, result.compared, result.mismatches[1]), 0)
  end
  if settings.slower and result.new_us > settings.slower * result.old_us then
    error(("the calls took %.1f us, before %.1f us: more than %g times"):format(
      result.new_us, result.old_us, settings.slower), 0)
  end
end

-- The reload itself, then what is asked of the new version.
local function play(transaction, settings, result)
  local owner, old = transaction.owner, transaction.owner.live
  owner.options.guard.crash = "error"
  core.set_guard(owner.handle, "error", math.ceil(owner.options.guard.timeout_ms or 0))
  event.fire(owner.handlers, "rehearsal", function(message) error(message, 0) end, owner.plugin)
  local before = descriptors()
  transaction:play()
  if settings.run then
    local verdict, reason = settings.run(owner.plugin.api)
    if verdict == false then error(reason or "the rehearsal's function returned false", 0) end
  end
  if settings.shadow and old then compare_calls(owner, old, settings, result) end
  if transaction.new.broken then error("the new image crashed: " .. transaction.new.broken, 0) end
  core.end_probes()
  local leaks = leaked(before)
  if #leaks > 0 then error("it leaves open: " .. table.concat(leaks, ", "), 0) end
end

local function in_words(problem)
  if type(problem) == "table" and problem.message then
    return problem.stage and ("at stage '%s': %s"):format(problem.stage, problem.message) or problem.message
  end
  return tostring(problem)
end

-- What the copy says at its end, and back.
local function pack(ok, problem, result)
  return string.pack("<Bs4i8i8dds4", ok and 1 or 0, ok and "" or in_words(problem), result.compared or -1,
    result.left_out or -1, result.old_us or 0, result.new_us or 0, table.concat(result.mismatches, "\n"))
end

local function unpack(text, result)
  local is_ok, problem, compared, left_out, old_us, new_us, mismatches = string.unpack("<Bs4i8i8dds4", text)
  if compared >= 0 then
    result.compared, result.left_out, result.old_us, result.new_us = compared, left_out, old_us, new_us
    result.mismatches = {}
    for line in mismatches:gmatch("[^\n]+") do table.insert(result.mismatches, line) end
  end
  return is_ok == 1, problem
end

-- In this process ---------------------------------------------------------------------------------

local function ended_by_itself(how, code, limit_ms)
  if how == "signal" then return ("%s in the copy"):format(code) end
  if how == "late" then return ("not done after %d ms (an endless loop?)"):format(limit_ms) end
  return ("the copy exited with status %d"):format(code)
end

--- Forks and plays the rest of the transaction there. Waits, with the loop going on where it can.
--- @param transaction table of reload.lua
--- @param settings table as M.read gives it
--- @return boolean ok
--- @return string? reason
--- @return table result { ok, error, output, us, fork_us, compared, left_out, mismatches, old_us, new_us }
function M.run(transaction, settings)
  local limit_ms = math.ceil(settings.limit_ms or default_limit_ms)
  local result, began, forked = {}, core.now(), nil
  local function copy()
    local seen = { mismatches = {} }
    local ok, problem = pcall(play, transaction, settings, seen)
    return pack(ok, problem, seen)
  end
  local how, code, text, output
  if task.can_wait() and not transaction.is_direct then
    how, code, text, output = task.await(function(done)
      local first, second, third, fourth = core.rehearse(copy, limit_ms, done)
      forked = core.now()
      transaction:pause_ends()
      if first ~= "waiting" then done(first, second, third, fourth) end
    end)
    transaction:pause_begins()
  else
    how, code, text, output = core.rehearse(copy, limit_ms)
  end
  result.us = (core.now() - began) / 1000
  result.fork_us = forked and (forked - began) / 1000 or nil
  result.output = output
  local problem
  if how == nil then
    result.ok, problem = false, code
  elseif how == "spoke" then
    result.ok, problem = unpack(text, result)
  else
    result.ok, problem = false, ended_by_itself(how, code, limit_ms)
  end
  if result.ok then return true, nil, result end
  if output and #output > 0 then problem = problem .. "\nits output:\n" .. output:sub(-2000) end
  result.error = problem
  return false, problem, result
end

return M
