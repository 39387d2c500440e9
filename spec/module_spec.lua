-- hot.module: Lua modules that reload when their file changes.
local hot = require "hotlua"
local t = require "hotlua.test"

describe("hot.module", function()
  local directory, path
  before_each(function()
    directory, path = t.tmpdir(), package.path
    package.path = directory .. "/?.lua;" .. path
  end)
  after_each(function() package.path = path end)

  local count = 0
  local function new_name()
    count = count + 1
    return "hot_module_under_test_" .. count
  end

  local function put(name, text)
    local file = directory .. "/" .. name .. ".lua"
    t.write(file .. ".new", text)
    assert(os.rename(file .. ".new", file))
  end

  it("is require, and brings new functions to who holds the table", function()
    local name = new_name()
    put(name, "local M = {} function M.f() return 1 end return M")
    local module = hot.module(name)
    assert.are.equal(1, module.f())
    assert.are.equal(module, require(name))
    put(name, "local M = {} function M.f() return 2 end function M.g() return 3 end return M")
    t.await(function() return module.f() == 2 end)
    assert.are.equal(3, module.g())
    put(name, "local M = {} function M.g() return 4 end return M")
    t.await(function() return module.g() == 4 end)
    assert.is_nil(module.f)
  end)

  it("keeps local state with upvalues of the same name", function()
    local name = new_name()
    put(name, "local n = 0 local M = {} function M.next() n = n + 1 return n end return M")
    local module = hot.module(name)
    module.next()
    module.next()
    put(name, "local n = 0 local M = { v = 2 } function M.next() n = n + 10 return n end return M")
    t.await(function() return module.v == 2 end)
    assert.are.equal(12, module.next())
  end)

  it("leaves the old module as it was when the new one does not compile or run", function()
    local name = new_name()
    put(name, "local M = { nested = { deep = { 1, 2, 3 } } } function M.f() return 1 end return M")
    local module = hot.module(name)
    local deep = module.nested.deep
    local task, errors = require "hotlua.task", {}
    local show = task.on_error
    task.on_error = function(message) errors[#errors + 1] = tostring(message) end
    put(name, "local M = { nested = ")
    t.await(function() return #errors == 1 end)
    put(name, "local M = { nested = { deep = {} } } error('on purpose')")
    t.await(function() return #errors == 2 end)
    task.on_error = show
    assert.matches("unexpected symbol", errors[1])
    assert.matches("on purpose", errors[2])
    assert.are.equal(1, module.f())
    assert.are.equal(deep, module.nested.deep)
    assert.are.same({ 1, 2, 3 }, deep)
  end)

  it("merges nested tables and metatables in place", function()
    local name = new_name()
    put(name, [[
      local Point = {} Point.__index = Point
      function Point:size() return 1 end
      return { Point = Point, new = function() return setmetatable({}, Point) end, limits = { low = 1, high = 2 } }]])
    local module = hot.module(name)
    local point, limits = module.new(), module.limits
    put(name, [[
      local Point = {} Point.__index = Point
      function Point:size() return 2 end
      return { Point = Point, new = function() return setmetatable({}, Point) end, limits = { low = 5 } }]])
    t.await(function() return point:size() == 2 end)
    assert.are.equal(limits, module.limits)
    assert.are.same({ low = 5 }, limits)
  end)

  it("calls on_reload with the old table", function()
    local name = new_name()
    put(name, "return { value = 1 }")
    local module = hot.module(name)
    put(name, "local M = { value = 2 } function M.on_reload(old) M.before = old.value end return M")
    t.await(function() return module.value == 2 end)
    assert.are.equal(1, module.before)
  end)

  it("does not run a file again that was saved with the same text", function()
    local name, runs = new_name(), {}
    package.loaded.hot_module_runs = runs
    finally(function() package.loaded.hot_module_runs = nil end)
    local first = "#!hotlua\nlocal runs = require 'hot_module_runs' runs[#runs + 1] = 1 return { value = 1 }"
    put(name, first)
    local module = hot.module(name)
    put(name, first)
    for value = 2, 3 do
      local text = first:gsub("value = 1", "value = " .. value)
      put(name, text)
      t.await(function() return module.value == value end)
      put(name, text)
    end
    assert.are.same({ 1, 1, 1 }, runs)
  end)

  it("serves policies and migrations", function()
    local name = new_name()
    put(name, "return { policy = function() return false, 'closed' end }")
    local rules = hot.module(name)
    local plugin = t.load("int version(void) { return 1; }", { policy = function(...) return rules.policy(...) end })
    local failed
    plugin:on("failed", function(report) failed = report end)
    local object = plugin:info().path
    local function copy(n)
      local built = t.build(("int version(void) { return %d; }"):format(n))
      assert(os.execute(("cp %s %s.new && mv %s.new %s"):format(built, object, object, object)))
    end
    copy(2)
    t.await(function() return failed end)
    assert.matches("closed", failed.error)
    put(name, "return { policy = function() return true end }")
    t.await(function() return rules.policy() == true end)
    copy(3)
    t.await(function() return plugin.api.version() == 3 end)
  end)

  it("says which module cannot be found", function()
    assert.error_matches(function() hot.module "no_such_module_anywhere" end, "no_such_module_anywhere")
  end)
end)
