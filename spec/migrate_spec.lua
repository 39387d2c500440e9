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

  it("undoes also what it did to the old image, in variables and in calls", function()
    local source = [[
      int n = 1, zero;
      static char name[9000];
      int count(void) { static int calls; return ++calls; }
      void set(int i, int c) { name[i] = c; }
      int get(int i) { return name[i]; }
    ]]
    local plugin = t.load(source, {
      migrate = function(new, old)
        old.api.n, old.api.zero = 77, 5
        old.api.count()
        old.api.set(8000, 3)
        new.api.n = old.api.n
        error "no way"
      end,
    })
    plugin.api.count()
    plugin.api.set(8000, 2)
    local none, report = t.swap(plugin, source .. "int more;")
    assert.is_nil(none)
    assert.matches("no way", report.error)
    local api = plugin.api
    assert.are.same({ 1, 0, 2, 2 }, { api.n, api.zero, api.get(8000), api.count() })
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

  it("does not take for untouched what only the other version began with", function()
    local plugin = t.load "int speed = 3, same = 3, limit = 1;"
    plugin.api.speed, plugin.api.limit = 5, 2
    assert(t.swap(plugin, "int speed = 5, same = 7, limit = 1;"))
    assert.are.same({ 5, 7 }, { plugin.api.speed, plugin.api.same })
    plugin.api.limit = 1
    local report = assert(plugin:rollback())
    assert.are.same({ 5, 3, 1 }, { plugin.api.speed, plugin.api.same, plugin.api.limit })
    assert.are.same({}, report.conflicts)
  end)

  it("leaves what only the older version has as it was", function()
    local plugin = t.load [[struct { int kept, gone; unsigned a : 3, b : 5; } s; int gone = 1;
      __attribute__((section("hot_transient"), used)) int scratch = 0;]]
    local s = plugin.api.s
    s.kept, s.gone, s.b, plugin.api.gone, plugin.api.scratch = 2, 3, 4, 5, 6
    assert(t.swap(plugin, "struct { int kept; unsigned b : 5; } s; int added;"))
    plugin.api.s.kept = 20
    assert(plugin:rollback())
    s = plugin.api.s
    assert.are.same({ 20, 3, 0, 4, 5, 0 }, { s.kept, s.gone, s.a, s.b, plugin.api.gone, plugin.api.scratch })
  end)

  it("begins anew where nothing is carried", function()
    local plugin = t.load("int n = 1;", { carry = "none" })
    plugin.api.n = 5
    assert(t.swap(plugin, "int n = 2;"))
    assert(plugin:rollback())
    assert.are.equal(1, plugin.api.n)
  end)

  it("keeps the newer image mapped where a pointer leads into it", function()
    local plugin = t.load("const char *label; int n;")
    assert(t.swap(plugin, [[const char *label; int n; void set(void) { label = "only in the second"; }]]))
    plugin.api.set()
    local report = assert(plugin:rollback())
    assert.are.same({ "label" }, report.held)
    assert.are.equal("only in the second", hot.string(plugin.api.label))
    local states = {}
    for _, image in ipairs(plugin:info().images) do states[image.generation] = image.state end
    assert.are.same({ "live", "held" }, states)
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

  it("take what a reload would carry", function()
    local source = [[
      int a, b; static int c; const int d = 4; _Thread_local int e;
      __attribute__((section("hot_state"), used)) int always = 1;
      __attribute__((section("hot_transient"), used)) int never = 2;
      int f(void) { return e + c; }
    ]]
    local function names(options)
      local list = {}
      for name in pairs(t.load(source, options):dump()) do list[#list + 1] = name end
      table.sort(list)
      return table.concat(list, " ")
    end
    assert.are.equal("a always b c", names())
    assert.are.equal("a always b c", names { carry = "all" })
    assert.are.equal("always", names { carry = "none" })
    assert.are.equal("always b", names { carry = { "b", "d" } })
    assert.error_matches(function() t.load(source):restore { never = 3 } end, "no variable 'never'")
  end)

  it("bring texts that stay", function()
    local source = "const char *label; const char *get(void) { return label; }"
    local plugin, text = t.load(source), ("x"):rep(50) .. os.time()
    plugin.api.label = text
    local fresh = t.load(source)
    fresh:restore(plugin:dump())
    plugin:close()
    text = text:reverse()
    collectgarbage()
    local others = {} -- which would take the text's place in memory
    for i = 101, 300 do others[#others + 1] = ("y"):rep(#text - 3) .. i end
    assert.are.equal(#text, #others[200])
    assert.are.equal(text:reverse(), fresh.api.get())
  end)

  it("pass over what has no debug information", function()
    local plugin = t.load(t.build("int n; int f(void) { return n; }", "-g0"))
    assert.are.same({}, plugin:dump())
    assert.error_matches(function() return plugin.api.n end, "'n'.*cdef")
  end)

  it("bring back unions and texts by pointer, and leave out what has no plain form", function()
    local source = [[
      union { _Bool b; int i; double d; char bytes[8]; } u[3];
      struct { int n; union { _Bool flag; double weight; }; int *p; } s;
      const char *label, *labels[3]; struct { int n; short rest[]; } flexible = { 3, { 1, 2 } };
      double zero; int (*handler)(void);
    ]]
    local plugin = t.load(source)
    local api = plugin.api
    api.u[0].d, api.u[1].i, api.u[2].bytes = 0.1, 2, "\2bytes"
    api.s.weight, api.s.n, api.label, api.labels[1], api.zero = 0x1.0000000000002p0, 4, "one", "two", -0.0
    api.flexible.n = 5
    local fresh = t.load(source)
    fresh:restore(plugin:dump())
    local now = fresh.api
    assert.are.same({ 0.1, 2, "\2bytes" }, { now.u[0].d, now.u[1].i, hot.string(now.u[2].bytes) })
    assert.are.same({ 4, "one", "two" }, { now.s.n, now.label, now.labels[1] })
    assert.are.equal(0x1.0000000000002p0, now.s.weight)
    assert.are.same({ -math.huge, 5 }, { 1 / now.zero, now.flexible.n })
  end)

  local function serialize(value)
    if type(value) ~= "table" then return ("%q"):format(value) end
    local parts = {}
    for key, inner in pairs(value) do parts[#parts + 1] = ("[%q] = %s"):format(key, serialize(inner)) end
    table.sort(parts)
    return "{ " .. table.concat(parts, ", ") .. " }"
  end

  it("go into a fresh process, to the last bit", function()
    local path = t.build [[
      #include <stdint.h>
      int64_t smallest, largest; uint64_t all; double tenth, infinite; float third; _Bool yes; char text[6];
      enum colour { RED, GREEN } colour; struct { long grid[2][3]; unsigned long wide : 40; } table;
      int next(void) { static int calls; return ++calls; }
    ]]
    local plugin = t.load(path)
    local api = plugin.api
    api.smallest, api.largest, api.all = math.mininteger, math.maxinteger, -1
    api.tenth, api.infinite, api.third, api.yes = 0.1, -math.huge, 1 / 3, true
    api.text, api.colour = "a\0\nb", 1
    api.table.grid[1][2], api.table.wide = (1 << 53) + 1, (1 << 40) - 1
    api.next()
    local values = serialize(plugin:dump())
    local script = t.write(t.tmpdir() .. "/restore.lua", ([[
      local plugin = require("hotlua").load(%q, { watch = false })
      plugin:restore(%s)
      local values = plugin:dump()
      assert(plugin.api.next() == 2 and values.table.grid[2][3] == (1 << 53) + 1)
      local function serialize(value)
        if type(value) ~= "table" then return ("%%q"):format(value) end
        local parts = {}
        for key, inner in pairs(value) do parts[#parts + 1] = ("[%%q] = %%s"):format(key, serialize(inner)) end
        table.sort(parts)
        return "{ " .. table.concat(parts, ", ") .. " }"
      end
      io.write(serialize(values))
    ]]):format(path, values))
    local pipe = io.popen(("'%s' '%s' 2>&1"):format(require("luv").exepath(), script))
    local output = pipe:read "a"
    pipe:close()
    assert.are.equal(values, output)
  end)
end)

describe("a group of which one migration fails", function()
  it("leaves the live images' state as it was, also what other migrations have changed there", function()
    local source = "int limit = 1; int version(void) { return %d; } void set(int n) { limit = n; }"
    local first = t.load(source:format(1), { migrate = function(_, old) old.api.set(99) end })
    local second = t.load(source:format(1), { migrate = function() error "no" end })
    local group = require "hotlua".group { first, second }
    first.api.set(5)
    t.write(first:info().path, io.open(t.build(source:format(2)), "rb"):read("a"))
    t.write(second:info().path, io.open(t.build(source:format(2)), "rb"):read("a"))
    local none, report = group:reload()
    assert.is_nil(none)
    assert.are.equal("migrate", report.stage)
    assert.are.equal(5, first.api.limit)
    assert.are.equal(1, first.api.version())
  end)
end)
