--- What luassert learns: assert.reloaded, refused, carries, rolled_back, unloaded.
local task = require "hotlua.task"

local M = {}

local patience_ms = 2000

local function check_plugin(plugin, name)
  if type(plugin) ~= "table" or type(plugin.info) ~= "function" then
    error(("bad argument #1 to '%s' (plugin expected, got %s)"):format(name, type(plugin)), 0)
  end
  return plugin:info()
end

-- Waits for `holds()` as long as `is_open()` says that it may still come.
local function wait(state, holds, is_open)
  if state.mod and task.can_wait() then
    task.wait(function() return holds() or not is_open() end, patience_ms)
  end
  return holds()
end

local function describe(info)
  local last = info.last and tostring(info.last) or "none"
  return ("plugin '%s' is at generation %d; last report: %s"):format(
    info.name, info.generation, last)
end

local function reloaded(state, arguments)
  local plugin, from = arguments[1], arguments[2]
  check_plugin(plugin, "reloaded")
  local function holds()
    local info = plugin:info()
    if from then return info.generation > from end
    local last = info.last
    return info.reloads > 0 and last.ok and not last.unchanged and not last.why_rolled_back
  end
  local ok = wait(state, holds, function()
    local last = plugin:info().last
    return not last or last.ok
  end)
  state.failure_message = ("Expected a reload%s: %s"):format(
    from and " from " .. from or "", describe(plugin:info()))
  return ok
end

local function value_at(values, path)
  if values[path] ~= nil then return values[path] end
  for key in path:gmatch "[^.%[%]]+" do
    if type(values) ~= "table" then return nil end
    local field = values[key]
    if field == nil then field = values[tonumber(key)] end
    values = field
  end
  return values
end

local function value_of(plugin, path)
  local value = value_at(plugin:dump(), path)
  if value == nil then
    local ok, live = pcall(function() return plugin.api[path] end)
    value = ok and live or nil
  end
  return value
end

local function show(value)
  local ok, pretty = pcall(require, "pl.pretty")
  return ok and type(value) == "table" and pretty.write(value) or tostring(value)
end

local function equal(a, b)
  return require("luassert.util").deepcompare(a, b)
end

--- Registers the assertions with luassert.
--- @param test table hotlua.test
function M.register(test)
  local assert, say = require "luassert", require "say"

  local function add(name, expected, fn)
    local positive = ("assertion.%s.positive"):format(name)
    local negative = ("assertion.%s.negative"):format(name)
    say:set(positive, ("(assert.%s: expected %s)"):format(name, expected))
    say:set(negative, ("(expected not: %s)"):format(expected))
    assert:register("assertion", name, fn, positive, negative)
  end

  local function refused(state, arguments)
    local plugin, source, pattern = arguments[1], arguments[2], arguments[3]
    local before = check_plugin(plugin, "refused")
    local report
    if source ~= nil then
      local taken, refusal = test.swap(plugin, source)
      report = refusal or taken
    else
      report = before.last
    end
    local text = ("%s: %s"):format(report and report.stage, report and report.error)
    local is_refused = report and not report.ok and plugin:info().generation == before.generation
    state.failure_message = is_refused and
      ("The reload was refused, for another reason than '%s':\n%s"):format(pattern, text) or
      ("Expected a refusal: %s"):format(tostring(report))
    return is_refused and (not pattern or text:find(pattern) ~= nil)
  end

  local function carries(state, arguments)
    local plugin, name, source = arguments[1], arguments[2], arguments[3]
    check_plugin(plugin, "carries")
    local before = value_of(plugin, name)
    if before == nil then
      error(("assert.carries: '%s' is no variable of the plugin"):format(name), 0)
    end
    local report, refusal = test.swap(plugin, source)
    if not report then
      state.failure_message = "The reload was refused: " .. tostring(refusal)
      return false
    end
    local after = value_of(plugin, name)
    state.failure_message = ("'%s' was %s and is %s; %s"):format(
      name, show(before), show(after), tostring(report))
    return after ~= nil and equal(before, after)
  end

  local function rolled_back(state, arguments)
    local plugin = arguments[1]
    check_plugin(plugin, "rolled_back")
    local function holds()
      local last = plugin:info().last
      return last and last.ok and last.why_rolled_back ~= nil
    end
    local ok = wait(state, holds, function() return true end)
    state.failure_message = "Expected a rollback: " .. describe(plugin:info())
    return ok
  end

  local function unloaded(state, arguments)
    local plugin, generation = arguments[1], arguments[2]
    check_plugin(plugin, "unloaded")
    local function find()
      for _, image in ipairs(plugin:info().images) do
        if image.generation == generation then return image end
      end
    end
    local ok = wait(state, function() return not find() end, function()
      local image = find() -- another thread unloads it: it may have gone since
      return not image or image.state ~= "held"
    end)
    local left = find()
    state.failure_message = left and
      ("Generation %d is still loaded, %s%s"):format(generation, left.state,
        left.why and ": " .. left.why or "") or
      ("Generation %d is unloaded"):format(generation)
    return ok
  end

  add("reloaded", "a reload that was taken", reloaded)
  add("refused", "a reload that is refused", refused)
  add("carries", "a value that is kept", carries)
  add("rolled_back", "the generation before to be back", rolled_back)
  add("unloaded", "an image that is gone", unloaded)
end

return M
