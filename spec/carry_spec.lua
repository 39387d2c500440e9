-- State across reloads: the merge, changed layouts, pointers.
local hot = require "hotlua"
local t = require "hotlua.test"

local function has(list, path)
  for _, item in ipairs(list) do
    if item == path then return true end
  end
  return false
end

-- The list as text, for failures that can be read.
local function listed(report, list)
  return table.concat(report[list], " ")
end

local function touched(source, writes)
  local plugin = t.load(source)
  for name, value in pairs(writes) do plugin.api[name] = value end
  return plugin
end

describe("the merge", function()
  it("takes the new initial value of what the program has not touched", function()
    local plugin = t.load "static int speed = 3; int get(void) { return speed; }"
    local report = assert(t.swap(plugin, "static int speed = 5; int get(void) { return speed; }"))
    assert.are.equal(5, plugin.api.get())
    assert.are.same({}, report.conflicts)
  end)

  it("keeps the running value where the code's has not changed", function()
    local source = "static int speed = 3; int get(void) { return speed; } void set(int x) { speed = x; }"
    local plugin = t.load(source)
    plugin.api.set(7)
    local report = assert(t.swap(plugin, source .. "int more;"))
    assert.are.equal(7, plugin.api.get())
    assert.are.same({ "speed" }, report.kept)
    assert.are.same({}, report.conflicts)
  end)

  it("keeps the running value and lists a conflict where both changed", function()
    local plugin = touched("int speed = 3, same = 3;", { speed = 7, same = 9 })
    local report = assert(t.swap(plugin, "int speed = 5, same = 9;"))
    assert.are.equal(7, plugin.api.speed)
    assert.are.same({ "speed" }, report.conflicts)
    assert.matches("running value is kept", report.why.speed)
  end)

  it("goes leaf by leaf through structs and arrays", function()
    local plugin = t.load "struct { int a, b; struct { short c; } rows[3]; } table = { 1, 2, { { 3 }, { 4 }, { 5 } } };"
    plugin.api.table.a = 10
    plugin.api.table.rows[1].c = 40
    plugin.api.table.rows[2].c = 50
    local report = assert(t.swap(plugin,
      "struct { int a, b; struct { short c; } rows[3]; } table = { 1, 20, { { 30 }, { 4 }, { 55 } } }; int more;"))
    local now = plugin.api.table
    assert.are.same({ 10, 20, 30, 40, 50 }, { now.a, now.b, now.rows[0].c, now.rows[1].c, now.rows[2].c })
    assert.are.same({ "table.rows[2].c" }, report.conflicts)
  end)

  it("takes a text as one value", function()
    local plugin = touched([[char name[8] = "abc"; char other[8] = "abc";]], { name = "abX" })
    local report = assert(t.swap(plugin, [[char name[8] = "Qbc"; char other[8] = "Qbc";]]))
    assert.are.equal("abX", hot.string(plugin.api.name))
    assert.are.equal("Qbc", hot.string(plugin.api.other))
    assert.are.same({ "name" }, report.conflicts)
  end)

  it("counts what constructors set as initial", function()
    local source = "int a; __attribute__((constructor)) static void start(void) { a = %d; }"
    local plugin = t.load(source:format(4))
    local report = assert(t.swap(plugin, source:format(6)))
    assert.are.equal(6, plugin.api.a)
    plugin.api.a = 9
    report = assert(t.swap(plugin, source:format(6) .. "int more;"))
    assert.are.equal(9, plugin.api.a)
    assert.are.same({}, report.conflicts)
  end)

  for mode, expected in pairs { all = { 3, 30 }, none = { 5, 50 } } do
    it("can be replaced by '" .. mode .. "'", function()
      local plugin = t.load("int speed = 3, limit = 10;", { carry = mode })
      plugin.api.limit = 30
      assert(t.swap(plugin, "int speed = 5, limit = 50;"))
      assert.are.same(expected, { plugin.api.speed, plugin.api.limit })
    end)
  end

  it("can be replaced by a list, and by markers in the source", function()
    local source = [[
      int speed = %d, limit = %d;
      __attribute__((section("hot_state"), used)) int visits = 0;
      __attribute__((section("hot_transient"), used)) int scratch = 0;
    ]]
    local plugin = t.load(source:format(3, 10), { carry = { "speed" } })
    for _, name in ipairs { "limit", "visits", "scratch" } do plugin.api[name] = 77 end
    assert(t.swap(plugin, source:format(5, 50)))
    local api = plugin.api
    assert.are.same({ 3, 50, 77, 0 }, { api.speed, api.limit, api.visits, api.scratch })
  end)
end)

describe("a changed layout", function()
  local before = [[
    struct row { int limit; short kind; float weight; int gone; };
    struct table { struct row rows[5]; int few[2]; int many[12]; } table;
  ]]

  it("keeps fields by name: moved, widened, added, in arrays that grow and shrink", function()
    local plugin = t.load(before)
    for i = 0, 4 do
      plugin.api.table.rows[i].limit, plugin.api.table.rows[i].kind = 100 + i, i
      plugin.api.table.rows[i].weight = i + 0.5
    end
    plugin.api.table.few[1], plugin.api.table.many[11] = 7, 11
    local report = assert(t.swap(plugin, [[
      struct row { double weight; char added; long limit; int kind; int gone; };
      struct table { int first; int many[3]; struct row rows[9]; int few[6]; } table = { .first = 3 };
    ]]))
    local now = plugin.api.table
    for i = 0, 4 do
      local row = now.rows[i]
      assert.are.same({ 100 + i, i, i + 0.5, 0 }, { row.limit, row.kind, row.weight, row.added })
    end
    assert.are.same({ 3, 7, 0 }, { now.first, now.few[1], now.rows[5].limit })
    assert.are.same({ "table" }, report.converted)
    assert.matches("int %-> long", report.why.table)
    assert.are.same({ "table.many[11]" }, report.reset)
  end)

  it("lists the values of fields that are gone", function()
    local plugin = t.load(before)
    plugin.api.table.rows[3].gone = 1
    local report = assert(t.swap(plugin, [[
      struct row { int limit; short kind; float weight; };
      struct table { struct row rows[5]; int few[2]; int many[12]; } table;
    ]]))
    assert.are.same({ "table.rows[3].gone" }, report.reset)
    assert.matches("no such field", report.why["table.rows[3].gone"])
  end)

  it("is refused where a value does not fit, by path, value and type", function()
    local plugin = t.load(before)
    plugin.api.table.rows[3].limit = 70000
    local narrow = before:gsub("int limit", "short limit")
    local none, report = t.swap(plugin, narrow)
    assert.is_nil(none)
    assert.are.equal("carry", report.stage)
    assert.matches("'table.rows%[3%].limit' is 70000 %(int%).*short", report.error)
    assert.are.equal(70000, plugin.api.table.rows[3].limit)
    plugin.api.table.rows[3].limit = -30000
    assert(t.swap(plugin, narrow .. "int more;"))
    assert.are.equal(-30000, plugin.api.table.rows[3].limit)
  end)

  it("converts between integers, floats and bools", function()
    local plugin = touched("#include <stdbool.h>\nint a; unsigned char b; double c; bool d; int e; long long f;",
      { a = -5, b = 200, c = 12.0, d = true, e = 9, f = 1 << 40 })
    assert(t.swap(plugin, "#include <stdbool.h>\ndouble a; int b; short c; int d; bool e; float f;"))
    local api = plugin.api
    assert.are.same({ -5.0, 200, 12, 1, true, 2.0 ^ 40 }, { api.a, api.b, api.c, api.d, api.e, api.f })
  end)

  for name, case in pairs {
    ["a fraction"] = { "double x;", 3.5, "int x;", "3.5" },
    ["a negative value"] = { "int x;", -1, "unsigned x;", "%-1" },
    ["an inexact integer"] = { "long x;", (1 << 53) + 1, "double x;", "9007199254740993" },
    ["too large a double"] = { "double x;", 1e300, "float x;", "e%+300" },
    ["too wide a bit-field"] = { "struct { int x : 8; } x;", 100, "struct { int x : 4; } x;", "100" },
  } do
    it("does not squeeze " .. name, function()
      local plugin = t.load(case[1])
      if case[1]:find "struct" then plugin.api.x.x = case[2] else plugin.api.x = case[2] end
      local none, report = t.swap(plugin, case[3])
      assert.is_nil(none)
      assert.matches(case[4], report.error)
    end)
  end

  it("keeps enumerators by name", function()
    local source = [[
      enum colour { %s };
      enum colour one, gone, array[3];
      struct { enum colour c : 4; } bits;
      void paint(int i) { one = array[2] = bits.c = (enum colour)i; }
      int get(void) { return (one == BLUE) + (array[2] == BLUE) + (bits.c == BLUE); }
    ]]
    local plugin = t.load(source:format "RED, GREEN, BLUE")
    plugin.api.paint(2)
    plugin.api.gone = 1
    local report = assert(t.swap(plugin, source:format "BLACK, BLUE, RED"))
    assert.are.equal(3, plugin.api.get())
    assert.are.same({ "gone" }, report.reset)
    assert.matches("GREEN", report.why.gone)
    assert.are.equal(0, plugin.api.gone)
  end)

  it("moves fields into a nested struct and out again", function()
    local flat = "struct body { int x; int y; int hp; } body; struct body list[20];"
    local nested = "struct body { int hp; struct { int z; int y; int x; } at; } body; struct body list[20];"
    local plugin = t.load(flat)
    plugin.api.body.x, plugin.api.body.y, plugin.api.body.hp = 1, 2, 3
    plugin.api.list[19].y = 5
    assert(t.swap(plugin, nested))
    local body = plugin.api.body
    assert.are.same({ 1, 2, 3, 5 }, { body.at.x, body.at.y, body.hp, plugin.api.list[19].at.y })
    assert(t.swap(plugin, flat .. "int more;"))
    body = plugin.api.body
    assert.are.same({ 1, 2, 3, 5 }, { body.x, body.y, body.hp, plugin.api.list[19].y })
  end)

  it("copies a union whose members are the same, and lists one whose are not", function()
    local plugin = t.load "union u { int i; float f; } a; struct { int n; union { int p; double q; }; } s; union u b;"
    plugin.api.a.f, plugin.api.s.q, plugin.api.b.i = 1.5, 2.5, 3
    local report = assert(t.swap(plugin, [[
      union u { float f; int i; long more; } a; struct { union { int p; double q; }; long n; } s;
      union v { double i; float f; } b;
    ]]))
    assert.are.same({ 1.5, 2.5, 0.0 }, { plugin.api.a.f, plugin.api.s.q, plugin.api.b.i })
    assert.are.same({ "b" }, report.reset)
    assert.matches("which one is valid", report.why.b)
  end)

  it("converts bit-fields", function()
    local plugin = t.load "struct { unsigned a : 3, b : 5; int c : 6; int d; } s;"
    local s = plugin.api.s
    s.a, s.b, s.c, s.d = 5, 17, -9, 3
    assert(t.swap(plugin, "struct { int c; unsigned b : 6; unsigned long z : 40, a : 9; unsigned d : 2; } s;"))
    s = plugin.api.s
    assert.are.same({ 5, 17, -9, 3, 0 }, { s.a, s.b, s.c, s.d, s.z })
  end)

  it("carries flexible arrays", function()
    local set = "int sum(void) { return s.data[0] + s.data[1] * 10 + s.data[2] * 100; }"
    local write = "void write(void) { s.data[2] = 9; s.n = 4; }"
    local plugin = t.load("struct { int n; short data[]; } s = { 3, { 1, 2, 3 } };" .. set .. write)
    plugin.api.write()
    assert(t.swap(plugin, "struct { char first; long n; int data[]; } s = { 0, 3, { 1, 5, 3, 4 } };" .. set))
    assert.are.equal(951, plugin.api.sum())
    assert.are.equal(4, plugin.api.s.n)
  end)

  it("carries texts to longer and shorter arrays", function()
    local plugin = touched("char longer[8], shorter[32], cut[16];",
      { longer = "eight", shorter = "fits", cut = "does not fit" })
    local report = assert(t.swap(plugin, "char longer[20], shorter[8], cut[8];"))
    local api = plugin.api
    assert.are.equal("eight", hot.string(api.longer))
    assert.are.equal("fits", hot.string(api.shorter))
    assert.are.equal("does no", hot.string(api.cut))
    assert.are.same({ "cut" }, report.reset)
  end)

  it("says that a text was cut also where only its last letter was", function()
    local plugin = touched("char small[12], large[9000];", { small = "12345678", large = ("x"):rep(8500) })
    local report = assert(t.swap(plugin, "char small[8], large[8500];"))
    assert.are.equal("1234567", hot.string(plugin.api.small))
    assert.are.equal(("x"):rep(8499), hot.string(plugin.api.large))
    assert.are.same({ "large", "small" }, report.reset)
    assert.are.same({}, report.conflicts)
  end)

  it("counts the values that are too many to list", function()
    local plugin = t.load "int many[3000], few[200];"
    for i = 10, 2999 do plugin.api.many[i] = i end
    for i = 0, 199 do plugin.api.few[i] = 1 end
    local report = assert(t.swap(plugin, "int many[10], few[100];"))
    assert.is_true(has(report.reset, "many (2890 more)"), listed(report, "reset"))
    assert.is_true(has(report.reset, "many[109]") and not has(report.reset, "many[110]"))
    assert.is_true(has(report.reset, "few[199]"))
    assert.are.equal(201, #report.reset)
  end)

  it("carries the statics of functions", function()
    local source = "%s next(void) { static %s n; return ++n; } int other(void) { static int n = 5; return n++; }"
    local plugin = t.load(source:format("int", "int"))
    plugin.api.next()
    plugin.api.next()
    plugin.api.other()
    local report = assert(t.swap(plugin, source:format("long", "long")))
    assert.are.equal(3, plugin.api.next())
    assert.are.equal(6, plugin.api.other())
    assert.is_true(has(report.converted, "next.n") and has(report.kept, "other.n"), listed(report, "kept"))
  end)

  it("carries the only static of functions, also one named as the compiler's own", function()
    local source = "int done(void) { static _Bool completed; completed = !completed; return completed + %d; }"
    local plugin = t.load(source:format(0))
    assert.are.equal(1, plugin.api.done())
    local report = assert(t.swap(plugin, source:format(10)))
    assert.is_true(has(report.kept, "done.completed"), listed(report, "kept"))
    assert.are.equal(10, plugin.api.done())
  end)

  it("says what happens to thread-local variables", function()
    local plugin = t.load "_Thread_local int mine = 1; int bump(void) { return ++mine; }"
    plugin.api.bump()
    local report = assert(t.swap(plugin, "_Thread_local int mine = 5; int bump(void) { return ++mine; }"))
    assert.are.equal(6, plugin.api.bump())
    assert.are.same({ "mine" }, report.reset)
    assert.matches("thread%-local", report.why.mine)
  end)

  it("does not mind static, exported, or another file", function()
    local plugin = t.load {
      ["a.c"] = "static int n; int one(void) { return ++n; }",
      ["b.c"] = "static int n = 10; int two(void) { return ++n; }",
    }
    plugin.api.one()
    plugin.api.two()
    assert(t.swap(plugin, {
      ["b.c"] = "int padding[40]; static int n = 10; int two(void) { return ++n; }",
      ["c.c"] = "static int n; int one(void) { return ++n; }",
    }))
    assert.are.same({ 2, 12 }, { plugin.api.one(), plugin.api.two() })
    plugin = t.load "static int n; int one(void) { return ++n; }"
    plugin.api.one()
    assert(t.swap(plugin, "int n; int one(void) { return ++n; }"))
    assert.are.equal(2, plugin.api.one())
  end)

  it("tells variables of one name apart by their files, or says that it cannot", function()
    local function file(initial, name)
      return ("static int n = %d; int %s(void) { return ++n; }"):format(initial, name)
    end
    local function after(files)
      local plugin = t.load { ["a.c"] = file(0, "one"), ["b.c"] = file(10, "two") }
      plugin.api.one()
      plugin.api.two()
      return assert(t.swap(plugin, files)), plugin.api
    end
    local report, api = after { ["c.c"] = file(0, "one"), ["b.c"] = file(10, "two"), ["d.c"] = "int more;" }
    assert.are.same({ 2, 12 }, { api.one(), api.two() })
    report, api = after { ["b.c"] = file(10, "two") }
    assert.are.equal(12, api.two())
    assert.are.same({ "n" }, report.reset)
    report = after { ["c.c"] = file(0, "one") }
    assert.are.same({ "n", "n" }, report.reset)
    assert.are.equal("of several variables of that name no file tells which it has become", report.why.n)
    report = after { "_Thread_local int n;" }
    assert.are.equal("it is thread-local in the new image", report.why.n)
  end)

  it("lists variables that are gone or have nothing in common", function()
    local plugin = t.load "int gone, number; int *pointer;"
    local report = assert(t.swap(plugin, "struct { int x; } number; long pointer;"))
    assert.are.same({ "gone", "number", "pointer" }, report.reset)
    assert.matches("int %-> struct", report.why.number)
  end)

  it("carries bytes where there is no debug info, and lists statics", function()
    local source = "int seen; static int hidden; int touch(void) { seen = 4; return hidden = 5; }"
    local plugin = t.load(t.build(source, "-g0"), { cdef = "int touch(void); int look(void);" })
    assert.are.equal(5, plugin.api.touch())
    local report = assert(t.swap(plugin, t.build(source .. "int look(void) { return seen; }", "-g0")))
    assert.are.equal(4, plugin.api.look())
    assert.are.same({ "hidden" }, report.reset)
    assert.matches("%-g", report.why.hidden)
  end)
end)

describe("a pointer into the old image", function()
  local common = [[
    #include <stddef.h>
    #include <string.h>
    static int twice(int x) { return x * FACTOR; }
    int thrice(int x) { return x * FACTOR + x; }
    struct entry { LAYOUT };
    struct entry entries[4];
    int (*handlers[3])(int);
    const char *label, *tail;
    int *inside;
    struct entry *middle, *behind;
    static int one, two;
    int *const addresses[] = { &one, &two };
    int *to_static;
    void set(void) {
      handlers[0] = twice; handlers[1] = thrice; handlers[2] = 0;
      label = "a cached string"; tail = strchr("key=value", '=') + 1;
      inside = &entries[2].limit; middle = &entries[3]; behind = entries + 4;
      to_static = &two; two = 22;
    }
    int check(void) {
      return (handlers[0] == twice) + (handlers[1] == thrice) * 10 + (inside == &entries[2].limit) * 100 +
        (middle == &entries[3]) * 1000 + (behind == entries + 4) * 10000 +
        (to_static == &two && two == 22) * 100000 + (!handlers[2]) * 1000000 +
        (!strcmp(label, "a cached string") && !strcmp(tail, "value")) * 10000000;
    }
    int call(int i) { return handlers[i](7); }
  ]]
  local function version(factor, layout)
    return (common:gsub("FACTOR", factor):gsub("LAYOUT", layout))
  end

  it("follows its function, variable, element or string", function()
    local plugin = t.load(version("2", "int limit; short kind;"))
    plugin.api.set()
    local report = assert(t.swap(plugin, version("20", "double first; long id; short kind; int limit; char c;")))
    assert.are.equal(11111111, plugin.api.check())
    assert.are.same({ 140, 147 }, { plugin.api.call(0), plugin.api.call(1) })
    assert.are.same({}, report.held)
    assert.is_true(has(report.repointed, "handlers[0]"), listed(report, "repointed"))
    assert.is_true(has(report.repointed, "inside"), listed(report, "repointed"))
  end)

  it("survives 100 reloads with another layout each time", function()
    local names = { "int limit;", "short kind;", "double weight;", "char tag;", "long id;" }
    local plugin = t.load(version("1", "int limit; short kind;"))
    plugin.api.set()
    for i = 1, 100 do
      local fields = { names[1] }
      for j = 2, #names do
        if (i * 7 + j * i) % 3 ~= 0 then table.insert(fields, i % #fields + 1, names[j]) end
      end
      if i % 2 == 0 then fields[#fields + 1] = "int x;" end
      local report = assert(t.swap(plugin, version(tostring(i % 10), table.concat(fields))))
      assert.are.same({}, report.held)
      assert.are.equal(11111111, plugin.api.check())
    end
    assert.are.equal(0, plugin.api.call(0))
  end)

  it("keeps a list and a hash table with static buckets whole", function()
    local source = [[
      #include <stdlib.h>
      struct node { struct node *next; int key; };
      static struct bucket { EXTRA struct node *first; } buckets[8];
      static struct { struct node *head, **tail; } list = { 0, &list.head };
      void add(int key) {
        struct node *n = malloc(sizeof *n), *m = malloc(sizeof *m);
        *n = (struct node){ buckets[key % 8].first, key };
        buckets[key % 8].first = n;
        *m = (struct node){ 0, key };
        *list.tail = m;
        list.tail = &m->next;
      }
      int sum(void) {
        int sum = 0;
        for (int i = 0; i < 8; i++) for (struct node *n = buckets[i].first; n; n = n->next) sum += n->key;
        for (struct node *n = list.head; n; n = n->next) sum += 1000 * n->key;
        return sum;
      }
      int empty(void) { return list.tail == &list.head; }
    ]]
    local plugin = t.load((source:gsub("EXTRA", "")))
    assert(t.swap(plugin, (source:gsub("EXTRA", "int more;"))))
    assert.are.equal(1, plugin.api.empty())
    for i = 1, 100 do
      plugin.api.add(i)
      assert(t.swap(plugin, (source:gsub("EXTRA", ("int more[%d]; char c;"):format(i * 7 % 10 + 1)))))
      assert.are.equal(1001 * i * (i + 1) // 2, plugin.api.sum())
    end
  end)

  it("without a counterpart keeps the old image mapped, and is listed", function()
    local source = [[
      int (*handlers[2])(void);
      const char *label;
      int call(void) { return handlers[1](); }
    ]]
    local plugin = t.load(source .. [[
      static int gone(void) { return 7; }
      void set(void) { handlers[1] = gone; label = "only in the first"; }
    ]], { keep = 0 })
    plugin.api.set()
    local report = assert(t.swap(plugin, source))
    assert.are.same({ "handlers[1]", "label" }, report.held)
    assert.matches("'gone' has no counterpart", report.why["handlers[1]"])
    assert.are.equal(7, plugin.api.call())
    assert.are.equal("only in the first", hot.string(plugin.api.label))
    assert.are.equal("held", plugin:info().images[1].state)
  end)

  it("keeps the old image mapped also where nobody touched it and all is carried", function()
    local plugin = t.load([[const char *label = "of the first";]], { carry = "all", keep = 0 })
    local report = assert(t.swap(plugin, [[const char *label = "of the second";]]))
    assert.are.same({ "label" }, report.held)
    assert.are.equal("of the first", hot.string(plugin.api.label))
  end)

  it("is listed in a large variable that nobody touched", function()
    local source = "int n; struct { int *p; char room[9000]; long more[3000]; } large = { &n }, *self[2000] = { &large };"
    local report = assert(t.swap(t.load(source), source .. "int more;"))
    assert.are.same({ "large", "n", "self" }, report.kept)
  end)

  it("in a union is left, and keeps the old image mapped", function()
    local plugin = t.load("union { int *p; long n; } u; int x; void set(void) { u.p = &x; }", { keep = 0 })
    plugin.api.set()
    local report = assert(t.swap(plugin, "union { int *p; long n; } u; int x; int more;"))
    assert.are.same({ "u" }, report.held)
  end)

  it("counts as unchanged when the code's initial pointer only moved with its image", function()
    local source = "int a, b; int *p = &a; const char *s = \"text\"; int is_b(void) { return p == &b; }"
    local plugin = t.load(source .. "void set(void) { p = &b; s = \"other\"; }")
    plugin.api.set()
    local report = assert(t.swap(plugin, source .. "const char *o(void) { return \"other\"; }"))
    assert.are.equal(1, plugin.api.is_b())
    assert.are.same({}, report.conflicts)
    assert.are.same({ "p", "s" }, report.repointed)
  end)
end)
