-- State by hand: migrate, rollback, dump and restore.
local hot = require "hotlua"
local t = require "hotlua.test"

describe("migrate", function()
  local before = "struct { int limit_s; int hits; } config = { 1, 2 }; double rate = 0.5;"
  local after = "struct { int limit_ms; int hits; } config = { 1000, 2 }; double rate = 0.5;"

  it("sees both images, after the merge", function()
    local seen
    local plugin = t.load(before, {
      migrate = function(new, old, report)
        seen = { new.api.config.hits, old.api.config.limit_s, report.reset[1] }
        new.api.config.limit_ms = old.api.config.limit_s * 1000
      end,
    })
    plugin.api.config.limit_s, plugin.api.config.hits = 3, 9
    assert(t.swap(plugin, after))
    assert.are.same({ 9, 3, "config.limit_s" }, seen)
    assert.are.same({ 3000, 9 }, { plugin.api.config.limit_ms, plugin.api.config.hits })
  end)

  it("undoes everything by an error, to the byte", function()
    local plugin = t.load(before, { migrate = function() error "no way" end })
    plugin.api.config.limit_s, plugin.api.rate = 3, 7.25
    local function bytes()
      return hot.string(hot.cast("char *", plugin.api.config), 8) .. string.pack("d", plugin.api.rate)
    end
    local first = bytes()
    local none, report = t.swap(plugin, after)
    assert.is_nil(none)
    assert.are.equal("migrate", report.stage)
    assert.matches("no way", report.error)
    assert.are.equal(first, bytes())
    assert.are.equal(1, plugin:info().generation)
  end)
end)

describe("rollback", function()
  it("brings back what both layouts hold, and forward again, to the byte", function()
    local v1 = "struct row { int id; short kind; float w; }; struct row rows[50]; char name[9];" ..
      "enum e { A, B, C } e;"
    local v2 = [[struct row { double w; long id; int kind; char more; }; struct row rows[60]; char name[20];
      enum e { Z, C, B, A } e;]]
    local plugin = t.load(v1)
    for i = 0, 49 do
      local row = plugin.api.rows[i]
      row.id, row.kind, row.w = i * 1000, -i, i / 4
    end
    plugin.api.name, plugin.api.e = "eight ch", 2
    local before = plugin:dump()
    local function bytes() return hot.string(hot.cast("char *", plugin.api.rows), 50 * 12) end
    local first = bytes()
    assert(t.swap(plugin, v2))
    plugin.api.rows[7].kind = 70
    assert(plugin:rollback())
    assert.are.equal(70, plugin.api.rows[7].kind)
    plugin.api.rows[7].kind = -7
    assert.are.equal(first, bytes())
    assert.are.same(before, plugin:dump())
  end)
end)

describe("dump and restore", function()
  it("go round, 64-bit integers whole, into a fresh copy", function()
    local source = [[
      #include <stdint.h>
      int64_t large; uint64_t unsigned_large; double d; char text[12];
      struct { struct { short a; float b; } rows[3]; unsigned bits : 5; } table;
      int *pointer = (int *)&d;
    ]]
    local plugin = t.load(source)
    local api = plugin.api
    api.large, api.unsigned_large, api.d, api.text = math.mininteger, -2, 0.1, "hello"
    api.table.rows[2].a, api.table.rows[1].b, api.table.bits = -3, 1.5, 21
    local values = plugin:dump()
    assert.are.equal(math.mininteger, values.large)
    assert.is_nil(values.pointer)
    local fresh = t.load(source)
    fresh:restore(values)
    assert.are.same(values, fresh:dump())
    assert.are.equal(-3, fresh.api.table.rows[2].a)
  end)
end)
