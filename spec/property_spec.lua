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
local trials_in_file <const> = 5 -- of values that do not fit

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
    if context.is_restored and (kind.to ~= "string" or not expected) then return end
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

-- `is_restored`: from a dump, which has no pointers but those to texts.
local function compare_values(plugin, variables, version, side, problems, is_restored)
  local context = {
    api = plugin.api, world = worlds[version], problems = problems, is_restored = is_restored,
  }
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

-- What gets lost hot.check must have said before, of the variable at least; but for numbers that no
-- enumerator has.
local function compare_check(old, new, report, problems)
  local may_lose = {}
  for _, path in ipairs(hot.check(old, new).reset) do may_lose[path:match "^[^.%[]+"] = true end
  for _, path in ipairs(report.reset) do
    local why = report.why[path] or ""
    if not may_lose[path:match "^[^.%[ ]+"] and not why:find "no enumerator" then
      problems[#problems + 1] = ("%s is reset (%s), of which hot.check said nothing"):format(path, why)
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


-- Gives what would not fit its initial value. Some of it is to be tried one by one: { name, path, variable }.
local function make_fit(variables)
  local trials = {}
  for _, variable in ipairs(variables) do
    for _, unfit in ipairs(predict({ variable }).unfit) do
      local trial = { name = ("unfit%d"):format(#trials + 1), path = unfit.path, variable = variable }
      local place, value = unfit.place, unfit.place.table[unfit.place.key]
      place.table[place.key] = unfit.base
      trials[#trials + 1] = trial
      trial.try = function()
        place.table[place.key] = value
        variable[trial.name] = clone(variable.ours)
        place.table[place.key] = unfit.base
      end
    end
  end
  while #trials > trials_in_file do table.remove(trials, math.random(#trials)) end
  for _, trial in ipairs(trials) do trial.try() end
  return trials
end

-- C functions that set what does not fit, and set it right again.
local function trial_functions(trials)
  local functions = {}
  for _, trial in ipairs(trials) do
    functions[#functions + 1] = generate.changer(trial.name, { trial.variable }, "old", "ours", trial.name)
    functions[#functions + 1] = generate.changer("not_" .. trial.name, { trial.variable }, "old", trial.name, "ours")
  end
  return table.concat(functions)
end

local function check_refusals(plugin, path, trials, problems)
  for _, trial in ipairs(trials) do
    plugin.api[trial.name]()
    local report, refusal = t.swap(plugin, path)
    if report then
      problems[#problems + 1] = trial.path .. " was taken though it does not fit"
      return false
    end
    if refusal.error:match "'(.-)' is .* does not fit" ~= trial.path then
      problems[#problems + 1] = ("%s was not refused, but: %s"):format(trial.path, refusal.error)
    end
    plugin.api["not_" .. trial.name]()
  end
  return true
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

local function check_dump(plugin, path, variables, problems)
  local fresh = t.load(path, { watch = false })
  fresh:restore(plugin:dump())
  compare_values(fresh, variables, "new", "now", problems, true)
  fresh:close()
end

local function check_rollback(plugin, variables, problems)
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
  local trials = takes_all and {} or make_fit(variables)
  local expected = predict(variables, takes_all)
  change_more(variables, takes_all)
  local old = t.build(generate.source(variables, "old", worlds.old) ..
    generate.changer("change", variables, "old", "base", "ours") .. trial_functions(trials))
  local new = t.build(generate.source(variables, "new", worlds.new) ..
    generate.changer("change_more", variables, "new", "merged", "now"))
  local plugin = t.load(old, { carry = takes_all and "all" or "merge" })
  plugin.api.change()
  if not check_refusals(plugin, new, trials, problems) then fail(number, problems, variables) end
  compare_values(plugin, variables, "old", "ours", problems)
  local report, refusal = t.swap(plugin, new)
  if not report then
    problems[#problems + 1] = refusal.error
  else
    compare_values(plugin, variables, "new", "merged", problems)
    compare_lists(report, expected, problems)
    compare_check(old, new, report, problems)
    plugin.api.change_more()
    compare_values(plugin, variables, "new", "now", problems)
    check_dump(plugin, new, variables, problems)
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
