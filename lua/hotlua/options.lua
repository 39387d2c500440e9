--- The options of hot.load: their names, types and defaults.
local policy = require "hotlua.policy"
local rehearse = require "hotlua.rehearse"

local M = {}

local function is_callable(value)
  return type(value) == "function" or (getmetatable(value) or {}).__call ~= nil
end

-- name -> { what is allowed, in words; check }
local known = {
  name = { "string", function(v) return type(v) == "string" and v ~= "" end },
  watch = { "boolean or list of paths", function(v) return type(v) == "boolean" or type(v) == "table" end },
  build = { "command, list of arguments or function",
    function(v) return type(v) == "string" or type(v) == "table" or is_callable(v) end },
  policy = { "function", is_callable },
  carry = { '"merge", "all", "none" or list of names',
    function(v) return v == "merge" or v == "all" or v == "none" or type(v) == "table" end },
  migrate = { "function", is_callable },
  on = { "table of handlers", function(v) return type(v) == "table" end },
  expect = { "table", function(v) return type(v) == "table" end },
  guard = { "table", function(v) return type(v) == "table" end },
  rehearse = { 'boolean, function, "shadow" or table',
    function(v) return type(v) == "boolean" or v == "shadow" or type(v) == "table" or is_callable(v) end },
  on_rehearsal = { "function", is_callable },
  probe = { "boolean", function(v) return type(v) == "boolean" end },
  verify = { "table", function(v) return type(v) == "table" end },
  cdef = { "string of C declarations", function(v) return type(v) == "string" end },
  keep = { "whole number from 0", function(v) return type(v) == "number" and math.tointeger(v) and v >= 0 end },
}

local guard_policies = { rollback = true, error = true, off = true }

local function check_guard(guard)
  for key in pairs(guard) do
    if key ~= "crash" and key ~= "timeout_ms" then
      local message = "hot.load: option 'guard' has no field '%s'; there are crash, timeout_ms"
      error(message:format(tostring(key)), 4)
    end
  end
  if not guard_policies[guard.crash or "rollback"] then
    local message = 'hot.load: guard.crash is "rollback", "error" or "off", not "%s"'
    error(message:format(tostring(guard.crash)), 4)
  end
  local limit = guard.timeout_ms
  if limit ~= nil and not (type(limit) == "number" and limit >= 0 and limit < 2 ^ 31) then
    error(("hot.load: guard.timeout_ms is a number from 0, not %s"):format(tostring(limit)), 4)
  end
end

-- What is asked for under a name that nobody looks at would be loaded unchecked.
local function check_verify(verify)
  for key in pairs(verify) do
    if key ~= "sha256" and key ~= "minisign" then
      local message = "hot.load: option 'verify' has no field '%s'; there are minisign, sha256"
      error(message:format(tostring(key)), 4)
    end
  end
  if next(verify) == nil then error("hot.load: option 'verify' is empty; there are minisign, sha256", 4) end
end

--- Checks the user's options and fills in the defaults. Raises at the caller's caller.
--- @param given table?
--- @return table
function M.read(given)
  if given ~= nil and type(given) ~= "table" then
    error(("bad argument #2 to 'load' (table expected, got %s)"):format(type(given)), 3)
  end
  local options = {
    watch = true, policy = policy.immediate, carry = "merge", on = {}, guard = {}, rehearse = false,
    probe = true, keep = 1,
  }
  for key, value in pairs(given or {}) do
    local rule = known[key]
    if not rule then
      local names = {}
      for name in pairs(known) do names[#names + 1] = name end
      table.sort(names)
      error(("hot.load: no option '%s'; there are %s"):format(tostring(key), table.concat(names, ", ")), 3)
    end
    if not rule[2](value) then
      error(("hot.load: option '%s' is a %s, not %s"):format(key, rule[1], tostring(value)), 3)
    end
    options[key] = value
  end
  check_guard(options.guard)
  if options.verify then check_verify(options.verify) end
  local _, problem = rehearse.read(options.rehearse)
  if problem then error("hot.load: option " .. problem, 3) end
  return options
end

return M
