-- The carry of random variables between random versions of their types, against a model in Lua
-- (property/model.lua).
-- HOTLUA_PAIRS pairs of types (400), drawn from HOTLUA_SEED (1).
local hot = require "hotlua"
local t = require "hotlua.test"

local here = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
package.path = here .. "/property/?.lua;" .. package.path
local generate = require "generate"
local model = require "model"

local pairs_wanted = tonumber(os.getenv "HOTLUA_PAIRS") or 400
local seed = tonumber(os.getenv "HOTLUA_SEED") or 1
local pairs_in_file <const> = 100

-- What pointers may lead to ---------------------------------------------------------------------------

local int = { kind = "number", c = "int", size = 4, class = "int", signed = true }

local function array_of_ints(count)
  local value = {}
  for i = 1, count do value[i] = 0 end
  return { kind = "array", count = count, of = int }, value
end

-- Three arrays that are only pointed to; one gets shorter.
local function pointed_variables()
  local list = {}
  for i, count in ipairs { 4, 2, 4 } do
    local variable = { name = "g" .. i }
    variable.old, variable.base = array_of_ints(4)
    variable.ours = variable.base
    variable.new, variable.theirs = array_of_ints(count)
    list[i] = variable
  end
  return list
end

local function targets(only_here, counts)
  local world = { ["function"] = { "f0", "f1", only_here }, number = {}, targets = {}, has = {} }
  world.string = { '"one"', '"another text"', ('"text of %s"'):format(only_here) }
  for i, count in ipairs(counts) do
    for j = 0, count - 1 do table.insert(world.number, ("&g%d[%d]"):format(i, j)) end
  end
  for _, kind in ipairs { "function", "number" } do
    for _, target in ipairs(world[kind]) do table.insert(world.targets, target) end
  end
  for _, kind in ipairs { "function", "number", "string" } do
    for _, target in ipairs(world[kind]) do world.has[target] = true end
  end
  local lines = {}
  for i, name in ipairs(world["function"]) do
    lines[i] = ("int %s(int x) { return x + %d; }"):format(name, i)
  end
  lines[#lines + 1] = ("const char *const texts[] = { %s };"):format(table.concat(world.string, ", "))
  world.text = table.concat(lines, "\n")
  return world
end

local worlds = { old = targets("gone", { 4, 4, 4 }), new = targets("added", { 4, 2, 4 }) }

-- Comparing -------------------------------------------------------------------------------------------

local function show(value)
  if math.type(value) == "float" then return ("%a"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for key, inner in pairs(value) do
    parts[#parts + 1] = ("%s = %s"):format(key, show(inner))
    if #parts > 20 then break end
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local compare

-- `context`: where pointers are asked for, what they may lead to, what was wrong.
local function compare_leaf(context, kind, found, expected, path)
  if kind.kind == "text" then found = hot.string(found, #found):gsub("\0+$", "") end
  if kind.kind == "pointer" then
    found = context.api.pointer(path)
    if kind.to == "string" then found = found and ('"%s"'):format(found) end
    if kind.to ~= "string" and expected and not context.world.has[expected] then expected = "another" end
    found, expected = found or false, expected or false
  end
  if model.equal(found, expected) then return end
  table.insert(context.problems, ("%s is %s instead of %s"):format(path, show(found), show(expected)))
end

function compare(context, kind, found, expected, path)
  if kind.kind == "array" then
    for i = 1, kind.count do
      compare(context, kind.of, found[i - 1], expected[i], ("%s[%d]"):format(path, i - 1))
    end
  elseif kind.kind == "union" then
    local field = kind.fields[1]
    compare(context, field.type, found[field.name], expected[field.name], path)
  elseif kind.kind == "struct" then
    for _, field in ipairs(kind.fields) do
      compare(context, field.type, found[field.name], expected[field.name], path .. "." .. field.name)
    end
  else
    compare_leaf(context, kind, found, expected, path)
  end
end

local function compare_values(plugin, variables, version, side, problems)
  local context = { api = plugin.api, world = worlds[version], problems = problems }
  for _, variable in ipairs(variables) do
    if variable[version] then
      compare(context, variable[version], plugin.api[variable.name], variable[side], variable.name)
    end
  end
end

local function compare_lists(report, expected, problems)
  for _, list in ipairs(model.lists) do
    local found = {}
    for _, path in ipairs(report[list]) do
      found[path] = true
      if not expected[list][path] then
        problems[#problems + 1] = ("%s is %s (%s)"):format(path, list, report.why[path])
      end
    end
    for path in pairs(expected[list]) do
      if not found[path] then problems[#problems + 1] = ("%s is not %s"):format(path, list) end
    end
  end
end

-- One file --------------------------------------------------------------------------------------------

local function clone(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, inner in pairs(value) do result[key] = clone(inner) end
  return result
end

-- Runs the model: `merged` is what each variable is to be.
local function predict(variables, takes_all)
  local out = model.new_findings()
  for _, variable in ipairs(variables) do
    local theirs = variable.theirs
    variable.theirs = clone(theirs)
    model.carry(out, { new = worlds.new.has, takes_all = takes_all }, variable)
    variable.merged, variable.theirs = variable.theirs, theirs
  end
  model.end_findings(out)
  return out
end


-- Gives what would not fit its initial value.
local function make_fit(variables)
  local refused = {}
  for _, variable in ipairs(variables) do variable.asked = clone(variable.ours) end
  for _, unfit in ipairs(predict(variables).unfit) do
    refused[unfit.path] = true
    unfit.place.table[unfit.place.key] = unfit.base
  end
  return refused
end

local function check_refusal(plugin, variables, path, refused, problems)
  local report, refusal = t.swap(plugin, path)
  local at = refusal and refusal.error:match "'(.-)' is .* does not fit"
  if report then
    problems[#problems + 1] = "values that do not fit were taken: " .. next(refused)
  elseif not refused[at] then
    problems[#problems + 1] = ("refused by another than expected: %s"):format(refusal.error)
  end
  compare_values(plugin, variables, "old", "asked", problems)
  plugin.api.make_fit()
end

-- The way back into what the old version was left with. False: something does not fit.
local function predict_return(variable, takes_all)
  local out = model.new_findings()
  local back = {
    name = variable.name, from = variable.new, to = variable.old, now = variable.now,
    now_base = variable.theirs, before = clone(variable.ours), before_base = variable.base,
  }
  model.carry_back(out, { new = worlds.old.has, takes_all = takes_all }, back)
  variable.back = back.before
  return #out.unfit == 0
end

-- `now`: what the new version makes of them while it runs.
local function change_more(variables, takes_all)
  for _, variable in ipairs(variables) do
    variable.now = generate.change_more(variable, worlds.new)
    if not predict_return(variable, takes_all) then
      variable.now = variable.merged
      predict_return(variable, takes_all)
    end
  end
end

local function fits_both_ways(variable)
  if #predict({ variable }, true).unfit > 0 then return false end
  variable.now = variable.merged
  return predict_return(variable, true)
end

-- With carry = "all" nothing can be made fit by not touching it: then only what fits is taken.
local function new_variables(takes_all)
  local variables, i = pointed_variables(), 0
  while #variables < pairs_in_file + 3 do
    i = i + 1
    local variable = generate.variable("v" .. i, worlds)
    if not takes_all or fits_both_ways(variable) then variables[#variables + 1] = variable end
  end
  return variables
end

local function check_rollback(plugin, variables, problems)
  plugin.api.change_more()
  compare_values(plugin, variables, "new", "now", problems)
  local report, refusal = plugin:rollback()
  if not report then
    problems[#problems + 1] = "rollback: " .. refusal.error
    return
  end
  compare_values(plugin, variables, "old", "back", problems)
  if report.conflicts[1] then problems[#problems + 1] = "a rollback has a conflict: " .. report.conflicts[1] end
end

local function fail(number, problems, variables)
  local lines = { ("HOTLUA_SEED=%d, file %d: %d problems"):format(seed, number, #problems) }
  for i = 1, math.min(#problems, 12) do
    lines[#lines + 1] = "  " .. problems[i]
    for _, variable in ipairs(variables) do
      if problems[i]:match "^[%w_]+" == variable.name then lines[#lines + 1] = generate.describe(variable) end
    end
  end
  error(table.concat(lines, "\n"), 0)
end

local function check_file(number)
  math.randomseed(seed, number)
  generate.restart()
  local takes_all = number % 4 == 0
  local problems, variables = {}, new_variables(takes_all)
  local refused = make_fit(variables)
  if takes_all then refused = {} end
  local expected = predict(variables, takes_all)
  change_more(variables, takes_all)
  local changers = generate.changer("change", variables, "old", "base", "asked") ..
    generate.changer("make_fit", variables, "old", "asked", "ours")
  local old = t.build(generate.source(variables, "old", worlds.old) .. changers)
  local new = t.build(generate.source(variables, "new", worlds.new) ..
    generate.changer("change_more", variables, "new", "merged", "now"))
  local plugin = t.load(old, { carry = takes_all and "all" or "merge" })
  plugin.api.change()
  if next(refused) then check_refusal(plugin, variables, new, refused, problems) end
  compare_values(plugin, variables, "old", "ours", problems)
  local report, refusal = t.swap(plugin, new)
  if not report then
    problems[#problems + 1] = refusal.error
  else
    compare_values(plugin, variables, "new", "merged", problems)
    compare_lists(report, expected, problems)
    check_rollback(plugin, variables, problems)
  end
  if #problems > 0 then fail(number, problems, variables) end
end

describe("random state", function()
  local files = math.max(1, pairs_wanted // pairs_in_file)

  it("is carried as the model says", function()
    io.stderr:write(("%d pairs of types, HOTLUA_SEED=%d\n"):format(files * pairs_in_file, seed))
    for number = 1, files do check_file(number) end
  end)
end)
