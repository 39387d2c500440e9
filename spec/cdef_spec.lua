-- C declarations given as text: plugins without debug info, type expressions, mistakes in them.
local hot = require "hotlua"
local t = require "hotlua.test"

local source = [[
#include <stdint.h>
#include <stdlib.h>
enum colour { RED, GREEN = 5, BLUE = GREEN << 1 };
typedef struct point { int x, y; } point;
struct __attribute__((packed)) header { char kind; uint32_t length; };
struct flags { unsigned ready : 1, level : 3; int : 4; signed delta : 5; };
struct shape { enum colour colour; union { point at; double size; }; const char *names[2]; };
int limit = 10;
int add(int a, int b) { return a + b; }
double half(double x) { return x / 2; }
point flipped(point p) { return (point){ p.y, p.x }; }
uint32_t length_of(const struct header *h) { return h->length; }
int level_of(struct flags f) { return f.level * 100 + f.delta; }
int apply(int (*each)(int), int value) { return each(value); }
enum colour next(enum colour c) { return c == RED ? GREEN : BLUE; }
int sum_of(int count, const int values[]) { int s = 0; while (count-- > 0) s += values[count]; return s; }
point *corner(void) { static point p = { 3, 4 }; return &p; }
]]

local declarations = [[
/* what a header would say */
enum colour { RED, GREEN = 5, BLUE = GREEN << 1 };
typedef struct point { int x, y; } point;
struct __attribute__((packed)) header { char kind; uint32_t length; };
struct flags { unsigned ready : 1, level : 3; int : 4; signed delta : 5; };
struct shape {
  enum colour colour;
  union { point at; double size; };
  const char *names[2];       // two of them
};
_Static_assert(sizeof(int) == 4, "as everywhere");
extern int limit;
int add(int a, int b);
int add(int, int);
double half(double x);
point flipped(point p);
uint32_t length_of(const struct header *h);
int level_of(struct flags f);
int apply(int (*each)(int), int value);
enum colour next(enum colour c);
int sum_of(int count, const int values[]);
point *corner(void);
]]

--- A plugin without debug info, that much declared for it.
local function load_bare(cdef)
  return t.load(t.build(source, "-g0"), { cdef = cdef })
end

describe("hot.load with cdef", function()
  it("gives signatures to functions without debug info, and without it says what to do", function()
    local bare = load_bare(nil)
    assert.error_matches(function() bare.api.add(1, 2) end, "'add' has no known signature.*cdef")
    bare:close()
    local plugin = load_bare("int add(int a, int b)")
    assert.are.equal(3, plugin.api.add(1, 2))
    assert.error_matches(function() plugin.api.add(1, "x") end,
      "bad argument #2 to 'add' %(number expected, got string%)")
    assert.error_matches(function() plugin.api.half(1) end, "'half' has no known signature")
  end)

  it("calls what takes and returns numbers, structs, enums, pointers and callbacks", function()
    local api = load_bare(declarations).api
    assert.are.equal(2.5, api.half(5))
    local flipped = api.flipped { x = 1, y = 2 }
    assert.are.same({ 2, 1 }, { flipped.x, flipped.y })
    assert.are.equal(705, api.level_of { level = 7, delta = 5 })
    assert.are.equal(198, api.level_of { level = 2, delta = -2 })
    assert.are.equal(42, api.apply(function(x) return x * 2 end, 21))
    assert.are.equal(10, api.next("GREEN"))
    assert.are.equal(6, api.sum_of(3, { 1, 2, 3 }))
    assert.are.equal(7, api.corner().x + api.corner().y)
  end)

  it("reads and writes declared variables", function()
    local api = load_bare(declarations).api
    assert.are.equal(10, api.limit)
    api.limit = 11
    assert.are.equal(11, api.limit)
  end)

  it("has the types with the compiler's layout", function()
    local plugin = load_bare(declarations)
    local types = plugin.types
    assert.are.equal(8, hot.sizeof(types.point))
    assert.are.equal(5, hot.sizeof(types.header))
    assert.are.equal(1, hot.offsetof(types.header, "length"))
    assert.are.equal(32, hot.sizeof(types.shape))
    assert.are.equal(8, hot.offsetof(types.shape, "at"))
    assert.are.equal(16, hot.offsetof(types.shape, "names"))
    assert.are.equal(0x11223344, plugin.api.length_of(types.header { kind = 1, length = 0x11223344 }))
    local shape = types.shape { colour = "BLUE", at = { x = 5, y = 6 } }
    assert.are.same({ 10, 5, 6 }, { shape.colour, shape.at.x, shape.at.y })
    assert.are.equal(10, plugin.enums.BLUE)
  end)

  it("lists exports as C spells them, with the names of parameters", function()
    local signatures = {}
    for _, export in ipairs(load_bare(declarations):exports()) do
      signatures[export.name] = export.signature
    end
    assert.are.equal("int add(int a, int b)", signatures.add)
    assert.are.equal("int apply(int (*each)(int), int value)", signatures.apply)
    assert.are.equal("point flipped(point p)", signatures.flipped)
    assert.are.equal("uint32_t length_of(const struct header *h)", signatures.length_of)
    assert.are.equal("int sum_of(int count, const int *values)", signatures.sum_of)
    assert.are.equal("int limit", signatures.limit)
  end)

  it("means by its names what the plugin's debug info says", function()
    local plugin = t.load(t.build(source), { cdef = "double half(double); point *corner(void);" })
    assert.are.equal(3, plugin.api.corner().x)
    assert.are.equal(1.5, plugin.api.half(3))
    assert.are.equal(3, plugin.api.add(1, 2))
  end)

  it("knows FILE, which takes Lua's own files", function()
    local plugin = t.load(t.build("#include <stdio.h>\nint number(FILE *f) { return fileno(f); }", "-g0"),
      { cdef = "int number(FILE *f);" })
    assert.are.equal(1, plugin.api.number(io.stdout))
    assert.error_matches(function() plugin.api.number(hot.new("int[1]")) end, "FILE %* expected, got int%[1%]")
  end)

  it("stands for the new image too", function()
    local plugin = load_bare("int add(int, int);")
    local add = plugin.api.add
    assert(t.swap(plugin, t.build((source:gsub("return a %+ b", "return a * b")), "-g0")))
    assert.are.equal(20, add(4, 5))
  end)
end)

describe("a mistake in cdef", function()
  local path
  local function mistake(cdef, pattern)
    path = path or t.build(source, "-g0")
    local ok, message = pcall(hot.load, path, { cdef = cdef, name = "mistaken" })
    assert.is_false(ok, cdef)
    assert.matches(pattern, tostring(message))
    assert.is_nil(hot.get("mistaken"))
  end

  it("is told with line and column", function()
    mistake("int add(int, int);\n  foo half(double);", "line 2, column 3: unknown type 'foo'")
    mistake("int add(int a, int b;", "line 1, column 21: expected '%)' before ';'")
    mistake("int add(int, int)\nint half(int);", "line 2, column 1: expected ';' before 'int'")
    mistake("/* one\n two */ struct { int x } y;", "line 2, column 24: expected ';' before '}'")
    mistake("int add(int", "line 1, column 12: expected '%)' before the end")
    mistake("int a[N];", "line 1, column 7: unknown constant 'N'")
    mistake("struct s { struct later x; };", "column 25: 'x' has the incomplete type struct later")
    mistake("int add(int);\nint x; /* no end", "line 2, column 8: this comment does not end")
    mistake("unsigned float x;", "column 1: unknown type 'unsigned float'")
  end)

  it("is a body, a value, a preprocessor line, or a second meaning", function()
    mistake("int add(int a, int b) { return a; }", "line 1, column 23: 'add' has a body")
    mistake("int limit = 3;", "line 1, column 11: 'limit' has an initial value")
    mistake("\n#include <stdio.h>", "line 2, column 1: preprocessor lines")
    mistake("int add(int);\nlong add(int);", "line 2, column 6: 'add' is declared before as int add%(int%)")
    mistake("struct s { int x; };\nstruct s { long x; };", "line 2, column 8: 'struct s' is defined before")
    mistake("enum e { A, B };\nenum f { B };", "line 2, column 10: 'B' has the value 1 already")
    mistake("struct s { int x; int x; };", "column 23: a second member named 'x'")
    mistake("struct s { int x : 33; };", "column 16: the width of 'x' must be 0 to 32")
    mistake(("("):rep(10000), "line 1, column")
    mistake("int " .. ("("):rep(10000) .. "x", "line 1, column")
  end)
end)

describe("a type expression", function()
  it("makes arrays of basic types", function()
    local a = hot.new("int[4]", { 1, 2 })
    assert.are.equal(4, #a)
    assert.are.same({ 1, 2, 0, 0 }, { a[0], a[1], a[2], a[3] })
    assert.is_nil(a[4])
    assert.error_matches(function() a[4] = 1 end, "%[4%]")
    assert.are.equal(16, hot.sizeof(a))
  end)

  it("knows every shape that C has", function()
    for expression, size in pairs {
      ["char"] = 1, ["unsigned long long int"] = 8, ["long double"] = 16, ["double _Complex"] = 16,
      ["uint8_t[3][5]"] = 15, ["const char *[4]"] = 32, ["int (*)(int, double)"] = 8,
      ["int (*(*)(void))[3]"] = 8, ["void (*[2])(const char *, ...)"] = 16, ["struct unseen *"] = 8,
      ["struct { char c; double d; }"] = 16, ["union { char c; short s; }[3]"] = 6,
      ["struct { char c; int i; } __attribute__((packed))"] = 5, ["int[sizeof(long) * 2 - 1]"] = 60,
      ["char['a' & ~1]"] = 96, ["enum { ONE = 1, MANY = 1 << 2 }"] = 4, ["size_t"] = 8,
      ["struct { int a : 3, b : 30; char c[]; }"] = 8, ["_Bool"] = 1, ["const volatile int *const"] = 8,
    } do
      assert.are.equal(size, hot.sizeof(expression), expression)
    end
  end)

  it("reaches the plugin's own types", function()
    local plugin = t.load(source)
    local corners = plugin.types["struct point *[4]"]()
    assert.are.equal(4, #corners)
    assert.is_nil(corners[0])
    corners[1] = plugin.api.corner()
    assert.are.equal(4, corners[1].y)
    assert.are.equal(32, hot.sizeof(corners))
    assert.are.equal(24, hot.sizeof(plugin.types["point[3]"]))
    assert.are.equal(4, hot.sizeof(plugin.types["enum colour"]))
    assert.are.equal(10, #plugin.types["point[BLUE]"]())
    assert.error_matches(function() return plugin.types["int[PINK]"] end, "unknown constant 'PINK'")
    assert.are.equal(10, #load_bare(declarations).types["point[BLUE]"]())
  end)

  it("is refused with the place and the name of what is wrong", function()
    local function mistake(expression, pattern)
      assert.error_matches(function() hot.sizeof(expression) end, pattern)
    end
    mistake("foo *", "unknown type 'foo' %(line 1, column 1")
    mistake("const  foo", "unknown type 'foo' %(line 1, column 8")
    mistake("struct nowhere", "unknown type 'struct nowhere'")
    mistake("struct nowhere[2]", "unknown type 'struct nowhere'")
    mistake("int[4", "expected ']' before the end %(line 1, column 6")
    mistake("int x", "expected the end of the type before 'x' %(line 1, column 5")
    mistake("int[-1]", "an array of %-1 elements")
    mistake("int[1 / 0]", "a division by zero")
    mistake("void[2]", "an array cannot hold void")
    mistake("int (int)[2]", "a function cannot return an array")
    mistake("static int", "no storage class")
    mistake("", "expected a type before the end")
    mistake("int[4611686018427387904]", "larger than memory")
    local plugin = t.load(source)
    assert.error_matches(function() return plugin.types["struct pont *[4"] end, "expected ']'")
    assert.error_matches(function() return plugin.types["pont *[4]"] end, "unknown type 'pont'")
  end)
end)
