-- borrow and borrow_mut: many readers or one writer, who holds what, and reloads that wait for the writer.
local hot = require "hotlua"
local t = require "hotlua.test"

local source = [[
struct config { int limit; struct { int deep; } inner; int list[3]; struct config *next; };
struct config config = {5, {6}, {1, 2, 3}, 0};
int count = 1;
int *place = &count;
const int fixed = 3;
_Thread_local int mine;
static int hidden = 4;
int get_hidden(void) { return hidden; }
int get_limit(void) { return config.limit; }
void set_limit(int limit) { config.limit = limit; }
]]

local function refused(pattern, fn, ...)
  local arguments = table.pack(...)
  local ok, message = pcall(fn, table.unpack(arguments, 1, arguments.n))
  assert.is_false(ok, "no error: " .. pattern)
  assert.matches(pattern, message)
end

local function here(offset)
  return ("borrow_spec.lua:%d"):format(debug.getinfo(2, "l").currentline + (offset or 0)):gsub("%.", "%%.")
end

describe("borrow", function()
  local plugin, api
  before_each(function()
    plugin = t.load(source, { name = "held", watch = false, keep = 0 })
    api = plugin.api
  end)

  it("gives a view that reads and does not write", function()
    local config <close> = plugin:borrow("config")
    assert.are.same({ 5, 6, 2 }, { config.limit, config.inner.deep, config.list[1] })
    refused("variable 'config' is borrowed for reading only", function() config.limit = 1 end)
    refused("variable 'config' is borrowed for reading only", function() config.inner.deep = 1 end)
    refused("variable 'config' is borrowed for reading only", function() config.list[1] = 1 end)
    refused("variable 'config' is borrowed for reading only", hot.copy, config.list, "1234")
    api.config.limit = 50
    assert.are.equal(50, config.limit)
  end)

  it("is had by many at once, and keeps the writer out, naming the holder", function()
    local first <close> = plugin:borrow("config")
    local second <close> = plugin:borrow("config")
    local where = here(-1)
    assert.are.equal(first.limit, second.limit)
    refused("^spec/borrow_spec.lua:%d+: variable 'config' is already borrowed at .*" .. where, function()
      return plugin:borrow_mut "config"
    end)
    local other <close> = plugin:borrow_mut("count")
    other.value = 2
    assert.are.equal(2, api.count)
  end)

  it("ends with its scope, also by an error, and for its inner views", function()
    local kept, inner
    do
      local config <close> = plugin:borrow("config")
      kept, inner = config, config.inner
    end
    for _, fn in ipairs { function() return kept.limit end, function() return inner.deep end } do
      refused("the borrow of variable 'config' is closed", fn)
    end
    pcall(function()
      local config <close> = plugin:borrow_mut("config")
      config.limit = 7
      error "out"
    end)
    local config <close> = plugin:borrow_mut("config")
    assert.are.equal(7, config.limit)
  end)

  it("ends when it is collected without having been closed", function()
    local config = plugin:borrow_mut("config")
    refused("already borrowed mutably", plugin.borrow, plugin, "config")
    assert.are.equal(5, config.limit)
    config = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    local again <close> = plugin:borrow("config")
    assert.are.equal(5, again.limit)
  end)

  it("refuses what is no variable, is const, or is each thread's own", function()
    refused("nothing", plugin.borrow, plugin, "nothing")
    refused("get_limit", plugin.borrow, plugin, "get_limit")
    refused("cannot borrow const variable 'fixed' mutably", plugin.borrow_mut, plugin, "fixed")
    refused("cannot borrow 'mine': each thread has one of its own", plugin.borrow, plugin, "mine")
    refused("string expected", plugin.borrow, plugin)
    local fixed <close> = plugin:borrow("fixed")
    assert.are.equal(3, fixed.value)
  end)

  it("reaches statics and pointers", function()
    local hidden <close> = plugin:borrow_mut("hidden")
    hidden.value = 40
    assert.are.equal(40, api.get_hidden())
    local place <close> = plugin:borrow_mut("place")
    assert.are.equal(1, place[0][0])
    place[0] = nil
    assert.is_nil(api.place)
  end)

  it("follows the variable through a reload, read-only", function()
    local config <close> = plugin:borrow("config")
    api.config.limit = 9
    assert(t.swap(plugin, source .. "int more;"))
    assert.are.equal(2, plugin:info().generation)
    assert.are.equal(9, config.limit)
    api.config.limit = 10
    assert.are.equal(10, config.limit)
    refused("borrowed for reading only", function() config.limit = 1 end)
    refused("already borrowed", plugin.borrow_mut, plugin, "config")
  end)

  it("of a variable that changed raises, and closes without an error", function()
    local config <close> = plugin:borrow("config")
    assert(t.swap(plugin, (source:gsub("int limit;", "long limit;", 1):gsub("int get_limit", "long get_limit"))))
    refused("layout of variable 'config' changed in generation 2", function() return config.limit end)
  end)

  it("of a closed plugin raises, and closes without an error", function()
    local config <close> = plugin:borrow_mut("config")
    plugin:close()
    refused("plugin 'held' is closed", function() return config.limit end)
    refused("closed", plugin.borrow, plugin, "config")
  end)
end)

describe("borrow_mut", function()
  local plugin, api
  before_each(function()
    plugin = t.load(source, { name = "held", watch = false, keep = 0 })
    api = plugin.api
  end)

  it("writes, and is the only one that does, naming its holder", function()
    local config <close> = plugin:borrow_mut("config")
    local where = here(-1)
    config.limit, config.inner.deep, config.list[2] = 10, 11, 12
    assert.are.same({ 10, 11, 12 }, { api.config.limit, api.config.inner.deep, api.config.list[2] })
    assert.are.equal(10, api.get_limit())
    for _, fn in ipairs {
      function() api.config = {} end, function() api.config.limit = 1 end, function() api.config.inner.deep = 1 end,
      function() api.config.list[0] = 1 end,
    } do
      refused("cannot write variable 'config': it is borrowed mutably at .*" .. where, fn)
    end
    refused("variable 'config' is already borrowed mutably at .*" .. where, plugin.borrow, plugin, "config")
    refused("variable 'config' is already borrowed mutably at .*" .. where, plugin.borrow_mut, plugin, "config")
    api.count = 3
    assert.are.equal(3, api.count)
  end)

  it("lets the others write again when it has ended", function()
    do
      local config <close> = plugin:borrow_mut("config")
      config.limit = 1
    end
    api.config.limit = 2
    assert.are.equal(2, api.get_limit())
  end)

  it("makes a reload wait until it ends", function()
    local report
    do
      local config <close> = plugin:borrow_mut("config")
      hot.spawn(function() report = assert(t.swap(plugin, source .. "int more;")) end)
      local turns = 0
      t.await(function()
        turns = turns + 1
        return turns > 20
      end)
      assert.is_nil(report)
      assert.are.equal(1, plugin:info().generation)
      config.limit = 77
    end
    t.await(function() return report end)
    assert.are.equal(2, report.generation)
    assert.are.equal(77, api.get_limit())
  end)

  it("refuses a reload that can not wait, and says who holds it", function()
    local config <close> = plugin:borrow_mut("config")
    local where = here(-1)
    local refusal
    hot.after(1, function() end)
    local timer = require("luv").new_timer()
    timer:start(1, 0, function()
      timer:close()
      local _, got = t.swap(plugin, source .. "int more;")
      refusal = got
    end)
    t.await(function() return refusal end)
    assert.are.equal("carry", refusal.stage)
    assert.matches("a borrow_mut is open: 'config' at .*" .. where, refusal.error)
    config.limit = 3
    assert.are.equal(3, api.get_limit())
  end)

  it("of a scalar, and of an array, is written by value and by element", function()
    local count <close> = plugin:borrow_mut("count")
    count.value = 12
    assert.are.equal(12, api.count)
    count[0] = 13
    assert.are.equal(13, api.count)
    refused("cannot write variable 'count'", function() api.count = 1 end)
  end)
end)
