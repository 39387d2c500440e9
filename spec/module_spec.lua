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

  -- The errors that are printed meanwhile.
  local function collect_errors()
    local task, errors = require "hotlua.task", {}
    local show = task.on_error
    task.on_error = function(message) errors[#errors + 1] = tostring(message) end
    finally(function() task.on_error = show end)
    return errors
  end

  it("keeps state apart that has the same name in different places", function()
    local name = new_name()
    local text = [[
      local M = { v = %d }
      do local n = 0 function M.low() n = n + %d return n end end
      do local n = 100 function M.high() n = n + %d return n end end
      return M]]
    put(name, text:format(1, 1, 1))
    local module = hot.module(name)
    module.low()
    module.high()
    put(name, text:format(2, 10, 10))
    t.await(function() return module.v == 2 end)
    assert.are.equal(11, module.low())
    assert.are.equal(111, module.high())
  end)

  it("brings new code into local tables, and keeps what the program has put there", function()
    local name = new_name()
    put(name, [[
      local Class = {} Class.__index = Class
      function Class:size() return 1 end
      function Class:old() end
      local commands, seen = { add = function(a, b) return a + b end }, {}
      local M = { v = 1 }
      function M.new() return setmetatable({}, Class) end
      function M.run(what, ...) return commands[what](...) end
      function M.add(what, fn) commands[what] = fn end
      function M.see(what) seen[#seen + 1] = what return #seen end
      return M]])
    local module = hot.module(name)
    local object = module.new()
    module.add("mine", function() return "mine" end)
    module.see "one"
    put(name, [[
      local Class = {} Class.__index = Class
      function Class:size() return 2 end
      function Class:more() return 3 end
      local commands = { add = function(a, b) return a + b + 100 end, sub = function(a, b) return a - b end }
      local seen = {}
      local M = { v = 2 }
      function M.new() return setmetatable({}, Class) end
      function M.run(what, ...) return commands[what](...) end
      function M.see(what) seen[#seen + 1] = what return #seen end
      return M]])
    t.await(function() return module.v == 2 end)
    for _, one in ipairs { object, module.new() } do
      assert.are.equal(2, one:size())
      assert.are.equal(3, one:more())
      assert.is_nil(one.old)
    end
    assert.are.equal(103, module.run("add", 1, 2))
    assert.are.equal(-1, module.run("sub", 1, 2))
    assert.are.equal("mine", module.run "mine")
    assert.are.equal(2, module.see "two")
  end)

  it("keeps a local table that is a field, too, where the program has changed it", function()
    local name = new_name()
    local text = [[
      local state = { hits = 0, limit = %d }
      local M = { v = %d, state = state }
      function M.hit() state.hits = state.hits + 1 return state.hits end
      return M]]
    put(name, text:format(10, 1))
    local module = hot.module(name)
    local state = module.state
    module.hit()
    put(name, text:format(20, 2))
    t.await(function() return module.v == 2 end)
    assert.are.equal(2, module.hit())
    assert.are.equal(state, module.state)
    assert.are.same({ hits = 2, limit = 20 }, state)
  end)

  it("is what callbacks that its chunk has given away have, too", function()
    local name = new_name()
    local text = [[
      local callbacks = require "hot_module_callbacks"
      local M = { v = %d, count = 0 }
      function M.tick() return %d end
      callbacks[%d] = function() M.count = M.count + 1 return M.tick(), M.v end
      return M]]
    local callbacks = {}
    package.loaded.hot_module_callbacks = callbacks
    finally(function() package.loaded.hot_module_callbacks = nil end)
    put(name, text:format(1, 1, 1))
    local module = hot.module(name)
    for version = 2, 3 do
      put(name, text:format(version, version, version))
      t.await(function() return module.v == version end)
    end
    for i = 1, 3 do assert.are.same({ 3, 3 }, { callbacks[i]() }) end
    assert.are.equal(3, module.count)
  end)

  it("takes a value where there was none yet", function()
    local name = new_name()
    put(name, "local rules local M = { v = 1 } function M.get() return rules end return M")
    local module = hot.module(name)
    put(name, "local rules = { 7 } local M = { v = 2 } function M.get() return rules end return M")
    t.await(function() return module.v == 2 end)
    assert.are.same({ 7 }, module.get())
  end)

  it("reloads what a hot module requires, before it", function()
    local low, high = new_name(), new_name()
    local errors = collect_errors()
    put(low, "return { n = 1 }")
    put(high, ("local low = require '%s' return { get = function() return low.n end }"):format(low))
    local module = hot.module(high)
    local required = require(low)
    assert.are.equal(required, hot.module(low))
    put(low, "return { n = 2 }")
    t.await(function() return module.get() == 2 end)
    -- Seen in this order, or at once: the chunk needs what the other file has new.
    put(high, ("local low = require '%s' return { v = low.twice(4), get = function() return low.n end }"):format(low))
    t.await(function() return #errors == 1 or module.v end)
    assert.matches("nil value", errors[1])
    put(low, "return { n = 3, twice = function(n) return 2 * n end }")
    t.await(function() return module.v == 8 end)
    put(low, "return { n = 4, thrice = function(n) return 3 * n end }")
    put(high, ("local low = require '%s' return { v = low.thrice(4) }"):format(low))
    t.await(function() return module.v == 12 end)
    assert.are.equal(1, #errors)
    assert.are.equal(required, require(low))
  end)

  it("lets modules require each other in a ring", function()
    local first, second = new_name(), new_name()
    local text = [[
      local other = require('hotlua').module '%s'
      local M = {}
      function M.name() return '%s' end
      function M.other() return other.name() end
      return M]]
    put(first, text:format(second, "first"))
    put(second, text:format(first, "second"))
    local a, b = hot.module(first), hot.module(second)
    assert.are.equal("second", a.other())
    assert.are.equal("first", b.other())
    put(first, text:format(second, "new first"))
    t.await(function() return b.other() == "new first" end)
    assert.are.equal(a, require(first))
  end)

  it("takes over a module that was loaded with require", function()
    local name = new_name()
    put(name, "local n = 0 local M = { v = 1 } function M.next() n = n + 1 return n end return M")
    local module = require(name)
    module.next()
    assert.are.equal(module, hot.module(name))
    put(name, "local n = 0 local M = { v = 2 } function M.next() n = n + 10 return n end return M")
    t.await(function() return module.v == 2 end)
    assert.are.equal(11, module.next())
  end)

  it("gives functions that other hot modules hold the new ones, in fields and upvalues", function()
    local low, high = new_name(), new_name()
    put(low, "return { f = function() return 1 end }")
    put(high, ("local f = require('%s').f return { f = f, g = function() return f() end }"):format(low))
    local module = hot.module(high)
    put(low, "return { f = function() return 2 end }")
    t.await(function() return module.g() == 2 end)
    assert.are.equal(2, module.f())
    local text = "local own = { f = %s } return { own = own, g = function() return own.f() end }"
    put(high, text:format(("require('%s').f"):format(low)))
    t.await(function() return module.own end)
    put(low, "return { f = function() return 3 end }")
    t.await(function() return module.g() == 3 end)
    put(high, text:format("function() return 4 end"))
    t.await(function() return module.own.f() == 4 end)
  end)

  it("gives on_reload the old nested tables, and undoes all when it fails", function()
    local name = new_name()
    local errors = collect_errors()
    put(name, [[
      local log = { "one" }
      local M = { nested = { deep = { n = 5 } } }
      function M.log() return log end
      return M]])
    local module = hot.module(name)
    local nested, deep, log = module.nested, module.nested.deep, module.log()
    local text = [[
      local log = {}
      local M = { nested = { deep = { n = 0, was = 0 } } }
      function M.log() return log end
      function M.on_reload(old)
        M.nested.deep.was, log[2] = old.nested.deep.n, "two"
        %s
      end
      return M]]
    put(name, text:format "error 'on purpose'")
    t.await(function() return errors[1] end)
    assert.are.equal(nested, module.nested)
    assert.are.equal(deep, nested.deep)
    assert.are.same({ n = 5 }, deep)
    assert.are.same({ "one" }, log)
    assert.is_nil(module.on_reload)
    put(name, text:format "")
    t.await(function() return module.on_reload end)
    assert.are.same({ n = 0, was = 5 }, deep)
    assert.are.same({ "one", "two" }, log)
  end)

  it("says which module cannot be found", function()
    assert.error_matches(function() hot.module "no_such_module_anywhere" end, "no_such_module_anywhere")
    assert.error_matches(function() hot.module(7) end, "string expected, got number")
  end)
end)
