--- Properties over versions: every pair, there and back, a failure at every stage.
local reload = require "hotlua.reload"
local scope = require "hotlua.test.scope"

local M = {}

-- Puts `text` before the message of what was raised, which may be a failed assertion's object.
local function prefix(problem, text)
  if type(problem) == "string" then return text .. ": " .. problem end
  if type(problem) == "table" and type(problem.message) == "string" then
    problem.message = ("%s\n(%s)"):format(problem.message, text)
  end
  return problem
end

local function run(label, fn, ...)
  local ok, problem = pcall(scope.apart, fn, ...)
  if not ok then error(prefix(problem, label), 0) end
end

--- Calls `fn(from, to, i, j)` for every ordered pair of different versions; what it makes is gone
--- after each call. The function may also be the last of the list.
--- @param versions any[] C sources or paths
--- @param fn fun(from: any, to: any, i: integer, j: integer)?
--- @return integer pairs how many
function M.versions(versions, fn)
  local list = { table.unpack(versions) }
  if fn == nil and type(list[#list]) == "function" then fn = table.remove(list) end
  if type(fn) ~= "function" then
    error(("bad argument #2 to 'versions' (function expected, got %s)"):format(type(fn)), 2)
  end
  if #list < 2 then error("bad argument #1 to 'versions' (at least two versions expected)", 2) end
  for i, from in ipairs(list) do
    for j, to in ipairs(list) do
      if i ~= j then run(("versions %d to %d"):format(i, j), fn, from, to, i, j) end
    end
  end
  return #list * (#list - 1)
end

--- Calls `fn(stage)` for every stage, the next reload set to fail there.
--- @param fn fun(stage: string)
--- @param stages string[]? those to try; all but `rehearse`, which runs only when asked for
function M.each_stage(test, fn, stages)
  if not stages then
    stages = {}
    for _, stage in ipairs(reload.stages) do
      if stage ~= "rehearse" then stages[#stages + 1] = stage end
    end
  end
  for _, stage in ipairs(stages) do
    run("stage " .. stage, function()
      test.fail_at(stage)
      fn(stage)
    end)
  end
end

-- Other values than a variable has at first, where they are plain numbers.
local function changed(value, key)
  if math.type(value) == "integer" then return value < 100 and value + 1 or value - 1 end
  if type(value) == "number" then return value + 0.5 end
  if type(value) == "boolean" then return not value end
  if type(value) ~= "table" then return value, key end
  local copy = {}
  for name, field in pairs(value) do copy[name] = changed(field) end
  return copy
end

local function touch(plugin)
  local count = 0
  for name, value in pairs(plugin:dump()) do
    if pcall(plugin.restore, plugin, { [name] = changed(value) }) then count = count + 1 end
  end
  if count == 0 then
    error("t.roundtrip: no variable could be changed: give a function that does", 0)
  end
end

local function pretty(value)
  return type(value) == "table" and require("pl.pretty").write(value) or tostring(value)
end

local function differences(before, after)
  local lines = {}
  local deepcompare = require("luassert.util").deepcompare
  for name, value in pairs(before) do
    if not deepcompare(value, after[name]) then
      lines[#lines + 1] = ("%s was %s and is %s"):format(name, pretty(value), pretty(after[name]))
    end
  end
  table.sort(lines)
  return lines
end

--- Loads v1, changes its state, swaps to v2 and back, and compares: fails with what was lost.
--- @param v1 string C source or path
--- @param v2 string C source or path
--- @param options table|function? those of hot.load, or `change`
--- @param change function? `change(plugin)` changes the state; without it every number is changed
--- @return table plugin at v1 again
function M.roundtrip(test, v1, v2, options, change)
  if type(options) == "function" then options, change = nil, options end
  local plugin = test.load(v1, options)
  local first = plugin:dump()
  local ok, problem = pcall(change or touch, plugin)
  if not ok then error(problem, 0) end
  local before = plugin:dump()
  if #differences(first, before) == 0 then
    scope.fail "t.roundtrip: the state was not changed, so nothing is shown"
  end
  for direction, version in ipairs { v2, v1 } do
    local report, refusal = test.swap(plugin, version)
    if not report then
      scope.fail(("t.roundtrip: %s was refused: %s"):format(
        direction == 1 and "forward" or "back", tostring(refusal)))
    end
  end
  local lines = differences(before, plugin:dump())
  if #lines > 0 then
    scope.fail(("t.roundtrip: there and back lost state\n%s\n%s"):format(table.concat(lines, "\n"),
      tostring(plugin:info().last)))
  end
  return plugin
end

return M
