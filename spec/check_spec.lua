-- hot.check and hotlua check: what a reload would do, from two files' types.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local program = assert(uv.exepath())

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function run(arguments)
  local pipe = io.popen(("%s %s 2>&1"):format(quote(program), arguments))
  local output = pipe:read "a"
  local _, _, code = pipe:close()
  return output, code
end

local function check(before, after)
  return hot.check(t.build(before), t.build(after))
end

local function has(text, line)
  assert.is_truthy(text:find(line, 1, true), line .. " is not in\n" .. text)
end

local before = [[
struct config { int rate; int limit_s; };
struct config config;
int total = 3, delay_s = 4;
int add(int a, int b) { return a + b + total; }
void old_one(void) {}
]]
local after = [[
struct config { double rate; int limit_ms; };
struct config config;
long total = 3; int delay_ms = 4;
long add(long a, int b) { return a + b + total; }
void new_one(void) {}
]]

describe("hot.check", function()
  it("lists exports that came, went and changed", function()
    local diff = check(before, after)
    assert.are.same({ "delay_ms", "new_one" }, diff.added)
    assert.are.same({ "delay_s", "old_one" }, diff.removed)
    assert.are.same({ "add", "config", "total" }, diff.changed)
    assert.is_false(diff.compatible)
  end)

  it("shows them in C", function()
    local diff = check(before, after)
    assert.are.same({
      { name = "add", before = "int add(int a, int b)", after = "long add(long a, int b)" },
      { name = "new_one", after = "void new_one(void)" },
      { name = "old_one", before = "void old_one(void)" },
    }, diff.functions)
    assert.are.same({ name = "total", before = "int", after = "long" }, diff.variables[3])
    assert.are.equal("struct config", diff.types[1].name)
    has(diff.types[1].before, "int limit_s;")
    has(diff.types[1].after, "int limit_ms;")
    assert.are.equal(1, #diff.types)
  end)

  it("finds the same file compatible", function()
    local diff = check(before, before)
    assert.is_true(diff.compatible)
    assert.are.same({}, diff.reasons)
    assert.are.same({}, diff.types)
    assert.is_nil(diff.migrate)
  end)

  it("takes as compatible what serves every caller and keeps all state", function()
    local old = [[struct point { int x, y; }; enum kind { A, B };
      int count; struct point where;
      int f(struct point *p, enum kind k) { return p->x + k + count; }]]
    local function taken(from, to)
      local diff = check(old, (old:gsub(from, to)))
      assert.are.same({}, diff.reasons)
      assert.is_true(diff.compatible)
    end
    taken("%f[%w]p%f[%W]", "renamed")
    taken("int x, y;", "int x, y, z;")
    taken("A, B", "A, B, C")
    taken("int count", "long count")
    taken("$", "int more(void) { return 1; }")
  end)

  it("says what breaks callers", function()
    local old = [[struct inner { int a, b; }; struct point { int x; struct inner in; };
      int f(struct point *p) { return p->x; } void g(void) {}]]
    local function reason(from, to)
      local diff = check(old, (old:gsub(from, to)))
      assert.is_false(diff.compatible)
      return diff.reasons[1]
    end
    assert.are.equal("'g' is gone", reason("void g%(void%) {}", ""))
    assert.matches("'f' changed: int f.* became long f", reason("int f", "long f"))
    assert.matches("'f' changed: struct inner has no 'b' any more", reason("int a, b;", "int a;"))
    assert.matches("'g' was a function and is a variable now",
      reason("void g%(void%) {}", "int g;"))
  end)

  it("knows a symbol that nothing has, and those that the program or a library has", function()
    local old = "int f(int n) { return n; }"
    local diff = check(old, "int missing(int); int f(int n) { return missing(n); }")
    assert.is_false(diff.compatible)
    assert.are.same({ "undefined symbol: missing" }, diff.refused)
    for _, new in ipairs {
      "#include <stdio.h>\nint f(int n) { return printf(\"%d\", n); }",
      "#include <hotlua/plugin.h>\nint f(int n) { hot_emit(\"f\", \"\"); return n; }",
      "int missing(int) __attribute__((weak)); int f(int n) { return missing ? missing(n) : n; }",
      "int uv_version(void); int f(int n) { return n + uv_version(); }",
    } do
      assert.is_true(check(old, new).compatible)
    end
  end)

  it("is what change:diff() gives, also without debug information", function()
    local diff = hot.check(t.build("int f(int x) { return x; }", "-g0"),
      t.build("int f(int x) { return x + 1; }", "-g0"))
    assert.is_true(diff.compatible)
    assert.are.same({}, diff.changed)
  end)

  it("raises on what cannot be loaded", function()
    local path = t.tmpdir() .. "/text.so"
    t.write(path, "this is no library")
    assert.error_matches(function() hot.check(path, t.build(before)) end, "ELF")
    assert.error_matches(function() hot.check(t.build(before)) end, "#2 to 'check'")
  end)
end)

describe("state", function()
  it("is listed by path", function()
    local diff = check("struct s { int kept; int same; }; struct s s; int plain;",
      "struct s { long kept; int same; int new; }; struct s s; int plain;")
    assert.is_true(diff.compatible)
    assert.is_true(#diff.kept + #diff.converted > 0)
    local text = table.concat(diff.kept, " ") .. " " .. table.concat(diff.converted, " ")
    has(text, "plain")
    has(text, "s")
  end)

  it("says which enumerators are gone, and where fields are renumbered", function()
    local source = "enum colour { %s }; struct { struct { enum colour c; } list[20]; } s; enum colour one;"
    local diff = check(source:format "RED, GREEN, BLUE", source:format "GREEN, RED, BLUE")
    assert.is_true(diff.compatible)
    assert.are.equal("list[].c: renumbered", diff.why.s)
    diff = check(source:format "RED, GREEN, BLUE", source:format "BLUE")
    assert.are.same({ "one", "s.list[].c" }, diff.reset)
    assert.are.equal("the new enum has no RED, GREEN", diff.why["s.list[].c"])
    assert.is_false(diff.compatible)
  end)

  it("counts the changes of a type that are too many to list", function()
    local before_fields, after_fields = {}, {}
    for i = 1, 60 do
      before_fields[i], after_fields[i] = ("int a_field_%d;"):format(i), ("long a_field_%d;"):format(i)
    end
    local diff = check(("struct { %s } s;"):format(table.concat(before_fields)),
      ("struct { %s } s;"):format(table.concat(after_fields)))
    local listed = select(2, diff.why.s:gsub("int %-> long", ""))
    assert.are.equal(60 - listed, tonumber(diff.why.s:match "and (%d+) more$"))
  end)

  it("of threads is no reason to refuse where the code says the same", function()
    local source = "%s counter = %s; static _Thread_local char name[8] = \"abc\";" ..
      "int f(void) { return counter + name[0]; }"
    local first = source:format("_Thread_local int", "3")
    local diff = check(first, first .. "int more;")
    assert.is_true(diff.compatible)
    assert.is_nil(diff.migrate)
    assert.are.same({ "counter", "name" }, diff.reset)
    assert.are.same(diff.reset, diff.restarted)
    assert.matches("thread%-local: each thread starts with its initial value again", diff.why.counter)
    for _, other in ipairs { { "_Thread_local int", "4" }, { "_Thread_local long", "3" }, { "int", "3" } } do
      diff = check(first, source:format(table.unpack(other)))
      assert.are.same({ "name" }, diff.restarted)
      assert.is_false(diff.compatible)
    end
  end)

  it("that would be lost is a reason to refuse", function()
    local diff = check("int value = 1;", "char *value;")
    assert.are.same({ "value" }, diff.reset)
    assert.is_false(diff.compatible)
    has(diff.reasons[1], "'value' would be reset")
  end)
end)

describe("the migrate function", function()
  local function draft(old, new)
    local diff = check(old, new)
    assert.is_string(diff.migrate)
    assert.is_function(assert(load(diff.migrate))())
    return diff.migrate
  end

  it("has a place for a variable that is gone", function()
    has(draft(before, after), "new.api.delay_ms = old.api.delay_s")
  end)

  it("has a place for a field that is gone", function()
    has(draft(before, after), "new.api.config.limit_ms = old.api.config.limit_s")
  end)

  it("names the types of what would be reset", function()
    local text = draft("int value = 1;", "char *value;")
    has(text, "was: int; now: char *")
    has(text, "new.api.value = old.api.value")
  end)

  it("goes through arrays", function()
    local text = draft(
      "struct row { int old_one; int kind; }; struct { struct row rows[3]; } table;",
      "struct row { int new_one; char *kind; }; struct { struct row rows[2]; } table;")
    has(text, "  -- for i = 0, 1 do\n" ..
      "  --   new.api.table.rows[i].new_one = old.api.table.rows[i].old_one")
    has(text, "  --   new.api.table.rows[i].kind = old.api.table.rows[i].kind\n  -- end")
    has(text, "table.rows[2] is gone")
  end)

  it("spells names that Lua has taken, and statics of functions", function()
    local text = draft("int function; int f(void) { static int calls; return ++calls + function; }",
      "int repeat; int f(void) { return repeat; }")
    has(text, 'old.api["function"]')
    has(text, 'old.api["f.calls"]')
  end)
end)

describe("hotlua check", function()
  it("exits 1 and says why when a reload would be refused", function()
    local text, status = run(("check %s %s"):format(quote(t.build(before)), quote(t.build(after))))
    assert.are.equal(1, status)
    has(text, "- int add(int a, int b);\n+ long add(long a, int b);")
    has(text, "// struct config, before\nstruct config {")
    has(text, "local function migrate(new, old, report)")
    has(text, "would be refused:\n")
    has(text, "'old_one' is gone")
  end)

  it("exits 0 when it would be taken", function()
    local path = quote(t.build(before))
    local text, status = run(("check %s %s"):format(path, path))
    assert.are.equal(0, status)
    has(text, "compatible")
  end)

  it("gives JSON", function()
    local text, status = run(("check --json %s %s"):format(
      quote(t.build(before)), quote(t.build(after))))
    assert.are.equal(1, status)
    local diff = require("dkjson").decode(text)
    assert.are.same({ "delay_s", "old_one" }, diff.removed)
    assert.is_false(diff.compatible)
    has(text, '"conflicts":[]')
  end)

  it("tells wrong usage from a file that is none", function()
    assert.are.equal(2, select(2, run "check one.so"))
    local text, status = run "check /no/such.so /no/other.so"
    assert.are.equal(1, status)
    has(text, "hotlua check: /no/such.so: ")
  end)
end)
