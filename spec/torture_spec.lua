-- Every kind of type in every place of a call, as gcc and clang write it with and without optimisation in
-- DWARF 4 and 5, beside a C program that makes the same calls.
local hot = require "hotlua"
local t = require "hotlua.test"
local scope = require "hotlua.test.scope"

local here = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
package.path = here .. "/signatures/?.lua;" .. package.path
local build = require "build"
local catalog = require "catalog"
local kinds = require "kinds"
local program = require "program"

local times <const> = 2

local function builds()
  local list = {}
  for _, compiler in ipairs { "gcc", "clang" } do
    for _, level in ipairs { "-O0", "-O2" } do
      for _, dwarf in ipairs { 4, 5 } do
        local name = ("%s%s-%d.so"):format(compiler, level, dwarf)
        list[#list + 1] = {
          name = name,
          command = ("%s -w %s -gdwarf-%d -shared -fPIC -o %s plugin.c"):format(compiler, level, dwarf, name),
        }
      end
    end
  end
  return list
end

local function check(path, calls, expected)
  local plugin = t.load(path)
  local problems = program.differences(plugin, calls, expected)
  plugin:close()
  if #problems == 0 then return end
  error(("%s: %d of %d calls differ\n%s"):format(path:match "[^/]*$", #problems, #calls,
    table.concat(problems, "\n", 1, math.min(#problems, 8))), 0)
end

describe("every kind of type in every place", function()
  it("passes as in C, from every compiler", function()
    math.randomseed(1)
    kinds.restart()
    local functions = catalog.functions()
    assert.is_true(#functions >= 150)
    local calls = program.draw_calls(functions, times)
    local source = program.plugin_source(functions)
    local directory = scope.new_directory()
    local commands = { "gcc -w -O0 -o caller caller.c" }
    for _, item in ipairs(builds()) do commands[#commands + 1] = item.command end
    build.run(directory, { ["plugin.c"] = source, ["caller.c"] = program.caller_source(source, calls) }, commands)
    local expected = build.lines(directory, "./caller")
    assert.are.equal(#calls, #expected)
    for _, item in ipairs(builds()) do check(directory .. "/" .. item.name, calls, expected) end
  end)
end)

-- What the random kinds do not have ---------------------------------------------------------------------

local source <const> = [[
#include <stdarg.h>
#include <stdlib.h>
struct node { int value; struct node *next; };
static struct node second = { 2, 0 }, first = { 1, &second };
int find(struct node **out) { *out = &first; return 1; }
int length(const struct node *n) { int i = 0; for (; n; n = n->next) i++; return i; }
void advance(struct node **place) { *place = (*place)->next; }
int count(const char *const *list) { int i = 0; while (list[i]) i++; return i; }
struct tail { int count; short values[]; };
int sum(const struct tail *t) { int s = 0; for (int i = 0; i < t->count; i++) s += t->values[i]; return s; }
struct grid { int cells[2][3]; };
int cell(struct grid g, int i, int j) { return g.cells[i][j]; }
struct __attribute__((packed)) crooked { char a; int b; };
int by_value(struct crooked c) { return c.b; }
int by_pointer(const struct crooked *c) { return c->b; }
unsigned __int128 wide(unsigned __int128 x) { return x + 1; }
struct mixed { int a; float b; double c; };
double sixth(double x, long a, long b, long c, long d, long e, struct mixed m, int rest, ...)
{
    va_list list;
    va_start(list, rest);
    double sum = x * 1000 + a + b + c + d + e + m.a + m.b + m.c;
    while (rest-- > 0)
        sum += va_arg(list, double);
    va_end(list);
    return sum;
}
struct names { const char *of[3]; };
int which(struct names n) { return (n.of[0] != 0) + 2 * (n.of[1] != 0) + 4 * (n.of[2] != 0); }
double total(const struct mixed *list, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += list[i].a;
    return sum;
}
typedef int (*operation)(int, int);
static int add(int a, int b) { return a + b; }
operation choose(void) { return add; }
int apply(operation f, int a, int b) { return f(a, b); }
]]

describe("besides these", function()
  local plugin, api, types
  before_each(function()
    plugin = t.load(t.build(source))
    api, types = plugin.api, plugin.types
  end)

  it("pointers to pointers lead C's results out and Lua's pointers in", function()
    local out = types["struct node *"]()
    assert.are.equal(1, api.find(out))
    assert.are.equal(1, out.value)
    assert.are.equal(2, api.length(out))
    api.advance(out)
    assert.are.equal(2, out.value)
    assert.are.equal(3, api.count { "a", "b", "c" })
  end)

  it("flexible array members and arrays of arrays", function()
    assert.are.equal(6, api.sum(types.tail { count = 3, values = { 1, 2, 3 } }))
    assert.are.equal(6, api.cell({ cells = { { 1, 2, 3 }, { 4, 5, 6 } } }, 1, 2))
  end)

  it("a packed struct goes by pointer, by value says why not", function()
    assert.are.equal(7, api.by_pointer { a = 1, b = 7 })
    local ok, message = pcall(api.by_value, { a = 1, b = 7 })
    assert.is_false(ok)
    assert.matches("'struct crooked' is packed: it cannot be passed by value; pass a pointer", message, 1, true)
  end)

  it("__int128 is refused with its name", function()
    local ok, message = pcall(api.wide, 1)
    assert.is_false(ok)
    assert.matches("__int128", message, 1, true)
  end)

  it("a struct of both sorts of words in the last integer register leaves the others alone", function()
    local m = { a = 6, b = 0.5, c = 0.25 }
    assert.are.equal(3021.75, api.sixth(3, 1, 2, 3, 4, 5, m, 0))
    assert.are.equal(3321.75, api.sixth(3, 1, 2, 3, 4, 5, m, 2, 100.0, 200.0))
  end)

  it("a table may have holes where the array's size is known", function()
    assert.are.equal(4, api.which { of = { [3] = "c" } })
    assert.are.equal(5, api.which { of = { "a", nil, "c" } })
    assert.has_error(function() api.which { of = { [4] = "d" } } end)
  end)

  it("a list of objects is one of structs", function()
    local mixed = types.mixed
    assert.are.equal(5.0, api.total({ mixed { a = 2 }, { a = 3 } }, 2))
    assert.are.equal(5.0, api.total({ { a = 2 }, mixed { a = 3 } }, 2))
    assert.are.equal(4.0, api.total({ a = 4 }, 1))
  end)

  it("a function pointer goes out and back", function()
    local operation = api.choose()
    assert.are.equal(7, operation(3, 4))
    assert.are.equal(7, api.apply(operation, 3, 4))
    assert.are.equal(12, api.apply(function(a, b) return a * b end, 3, 4))
  end)
end)

describe("a variadic function of clang's", function()
  it("is one where its body comes before `...`", function()
    local path = scope.new_directory() .. "/variadic.so"
    build.run(path:match "^(.*)/", { ["v.c"] = [[
      #include <stdarg.h>
      static int add(int a, int b) { for (int i = 0; i < b; i++) a += i & b; return a; }
      int sum(int count, ...)
      {
          int result = 0;
          va_list list;
          va_start(list, count);
          for (int i = 0; i < count; i++)
              result += add(va_arg(list, int), i);
          va_end(list);
          return result;
      }]] }, { "clang -g -O2 -shared -fPIC -o variadic.so v.c" })
    local plugin = t.load(path)
    assert.are.equal(5, plugin.api.sum(2, 2, 3))
    assert.are.equal("int sum(int count, ...)", hot.inspect(path).functions.sum.signature)
  end)
end)
