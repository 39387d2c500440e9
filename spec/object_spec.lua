-- C values in Lua: making them, reading and writing their parts, pointers, types, and what happens to views
-- when the memory or the layout behind them goes.
local hot = require "hotlua"
local t = require "hotlua.test"

local source = [[
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
enum colour { RED, GREEN = 5, BLUE = -2 };
struct point { int x, y; };
union word { uint32_t whole; uint8_t bytes[4]; float real; };
struct shape {
  char name[8];
  struct point corners[3];
  enum colour colour;
  bool is_open;
  double weights[2][2];
  union word word;
  const struct point *origin;
  const int version;
  const char *label;
};
struct bits { unsigned low : 3; int middle : 5; bool flag : 1; unsigned long wide : 40; enum colour tint : 4; };
struct list { int count; short items[]; };
struct outer { int kind; union { int number; float real; struct { short low, high; }; }; struct { int deep; } named; };
struct node { int value; struct node *next; };
struct slots { int *numbers; int **rows; void *any; int (*twice)(int); };
struct hidden;
struct empty { };

struct point move(struct point p, int dx) { p.x += dx; return p; }
int sum_corners(const struct shape *s)
{
  int sum = 0;
  for (int i = 0; i < 3; i++) sum += s->corners[i].x * 10 + s->corners[i].y;
  return sum;
}
void divide(int a, int b, int *quotient, int *rest) { *quotient = a / b; *rest = a % b; }
size_t fill(char *buffer, size_t size) { memset(buffer, 'x', size); return size; }
int sum(const int *list, size_t count) { int s = 0; while (count--) s += *list++; return s; }
void set_text(const char **place) { *place = "from C"; }
struct node *push(struct node *list, struct node *item) { item->next = list; return item; }
int total(const struct node *list) { int s = 0; for (; list; list = list->next) s += list->value; return s; }
int row_sum(int **rows, int count) { int s = 0; for (int i = 0; i < count; i++) s += rows[i][0]; return s; }
int sum_list(const struct list *list) { int s = 0; for (int i = 0; i < list->count; i++) s += list->items[i]; return s; }
void make(struct point **place) { *place = malloc(sizeof **place); (*place)->x = 7; (*place)->y = 8; }
void drop(void *memory) { free(memory); }
int read_bits(const struct bits *b) { return b->low * 1000 + b->middle; }
long double halve(long double x) { return x / 2; }
double _Complex turn(double _Complex z) { return z * 1.0i; }
double length2(struct point p) { return p.x * p.x + p.y * p.y; }
union word mix(union word w) { w.bytes[0] ^= 255; return w; }
struct hidden *open_hidden(void) { return (struct hidden *)malloc(4); }
void close_hidden(struct hidden *h) { free(h); }

struct point where = {3, 4};
struct point grid[2][3] = {{{1, 2}, {3, 4}, {5, 6}}};
const struct point fixed = {1, 1};
int numbers[4] = {1, 2, 3, 4};
char title[8] = "abc";
struct node first = {1, 0};
struct point *chosen = &where;
struct point *get_where(void) { return &where; }
int *get_numbers(void) { return numbers; }
int kind_of(const struct outer *outer) { return outer->kind; }
]]

local function refused(pattern, fn, ...)
  local arguments = table.pack(...)
  local ok, message = pcall(fn, table.unpack(arguments, 1, arguments.n))
  assert.is_false(ok, "no error: " .. pattern)
  assert.matches(pattern, message)
end

describe("an object", function()
  local plugin, api, types
  before_each(function()
    plugin = t.load(source, { watch = false })
    api, types = plugin.api, plugin.types
  end)

  it("is made zeroed, by names, by positions, nested, from another one", function()
    local point = types.point
    assert.are.equal(0, point().x + point {}.y)
    assert.are.equal(1, point { x = 1 }.x)
    assert.are.equal(2, point { 1, 2 }.y)
    assert.are.equal(2, point(1, 2).y)
    local shape = types.shape {
      name = "square", corners = { { 1, 2 }, { x = 3 }, point { 5, 6 } }, colour = "GREEN", is_open = true,
      weights = { { 1, 2 }, { 3, 4.5 } }, word = { whole = 0x01020304 }, version = 9, label = "here",
    }
    assert.are.equal("square", hot.string(shape.name))
    assert.are.equal(12 + 30 + 56, api.sum_corners(shape))
    assert.are.equal(5, shape.colour)
    assert.is_true(shape.is_open)
    assert.are.equal(4.5, shape.weights[1][1])
    assert.are.equal(4, shape.word.bytes[0])
    assert.are.equal(9, shape.version)
    assert.are.equal("here", shape.label)
    local copy = types.shape(shape)
    shape.corners[0].x = 100
    assert.are.equal(1, copy.corners[0].x)
  end)

  it("refuses initialisers that do not fit, with the field's name", function()
    refused("no field 'z'", types.point, { z = 1 })
    refused("x.*number expected, got string", types.point, { x = "1" })
    refused("out of range for 'int'", types.point, { x = 2 ^ 31 })
    refused("too many", types.point, { 1, 2, 3 })
    refused("corners", types.shape, { corners = { {}, {}, {}, {} } })
    refused("name.*", types.shape, { name = "far too long" })
    refused("'PINK' is not an enumerator", types.shape, { colour = "PINK" })
    refused("number expected, got table", types.point, { x = {} })
    refused("cannot make an object of 'struct hidden'", hot.new, types.hidden)
    refused("cannot make an object of 'void'", hot.new, "void")
  end)

  it("has fields that are read and written, and no others", function()
    local shape = types.shape()
    shape.colour = "BLUE"
    assert.are.equal(-2, shape.colour)
    shape.corners[1] = { x = 7, y = 8 }
    assert.are.equal(8, shape.corners[1].y)
    shape.corners[2] = shape.corners[1]
    assert.are.equal(7, shape.corners[2].x)
    shape.name = "abc"
    assert.are.equal("abc", hot.string(shape.name))
    shape.weights[0][1] = 3
    assert.are.equal(3.0, shape.weights[0][1])
    shape.is_open = true
    refused("boolean expected, got number", function() shape.is_open = 1 end)
    refused("'struct shape' has no field 'nme'", function() return shape.nme end)
    refused("'struct shape' has no field 'nme'", function() shape.nme = 1 end)
    refused("out of range", function() shape.corners[0].x = 1 << 40 end)
    refused("field 'x'.*number expected, got nil", function() shape.corners[0].x = nil end)
    refused("const field 'version'", function() shape.version = 2 end)
  end)

  it("does not write through pointers to const, nor what is const", function()
    local origin = types.point { 1, 2 }
    local shape = types.shape { origin = origin }
    assert.are.equal(1, shape.origin.x)
    refused("const", function() shape.origin.x = 5 end)
    refused("const", function() api.fixed.x = 5 end)
    refused("const", function() api.fixed = { 1, 2 } end)
    refused("const", function() hot.copy(shape.origin, "12345678", 8) end)
    assert.are.equal(1, origin.x)
    refused("const", function() plugin.types["const int[2]"] { 1, 2 } [0] = 4 end)
  end)

  it("shows its type and fields as text", function()
    assert.are.equal("struct point { x = 1, y = 2 }", tostring(types.point { 1, 2 }))
    local text = tostring(types.shape { name = "abc", corners = { { 1, 2 } }, colour = "GREEN", label = "x" })
    assert.matches("struct shape", text)
    assert.matches("GREEN", text)
    assert.matches("corners = {.-x = 1", text)
    assert.matches("abc", text)
    assert.matches("int%[4%]", tostring(api.numbers))
    assert.matches("1, 2, 3, 4", tostring(api.numbers))
    assert.matches("struct point %*", tostring(api.get_where()))
    assert.matches("low = 5", tostring(types.bits { low = 5 }))
    assert.matches("label = 0x10", tostring(types.shape { label = hot.cast("const char *", 16) }))
    assert.are.equal("struct point *: 0x10", tostring(hot.cast(types["struct point *"], 16)))
    local loop = types.node { 1 }
    loop.next = loop
    assert.matches("struct node", tostring(loop))
  end)

  it("is walked with pairs, arrays with ipairs and pairs", function()
    local names, values = {}, {}
    for name, value in pairs(types.point { 1, 2 }) do
      names[#names + 1], values[#values + 1] = name, value
    end
    assert.are.same({ "x", "y" }, names)
    assert.are.same({ 1, 2 }, values)
    names = {}
    for name in pairs(types.outer { kind = 1, number = 2 }) do names[#names + 1] = name end
    assert.are.same({ "kind", "number", "real", "low", "high", "named" }, names)
    local seen = {}
    for i, value in pairs(api.numbers) do seen[i] = value end
    assert.are.same({ [0] = 1, 2, 3, 4 }, seen)
    local by_ipairs = {}
    for i, value in ipairs(api.numbers) do by_ipairs[i] = value end
    assert.are.same({ 2, 3, 4 }, by_ipairs)
    refused("length of 'int %*' is not known", pairs, api.get_numbers())
  end)
end)

describe("an array", function()
  local plugin, api, types
  before_each(function()
    plugin = t.load(source, { watch = false })
    api, types = plugin.api, plugin.types
  end)

  it("starts at 0, knows its length and its bounds", function()
    local numbers = hot.new("int[4]", { 1, 2, 3 })
    assert.are.equal(4, #numbers)
    assert.are.same({ 1, 2, 3, 0 }, { numbers[0], numbers[1], numbers[2], numbers[3] })
    assert.is_nil(numbers[4])
    assert.is_nil(numbers[-1])
    assert.is_nil(numbers[math.maxinteger])
    refused("index 4 out of bounds of 'int%[4%]'", function() numbers[4] = 1 end)
    refused("index %-1 out of bounds", function() numbers[-1] = 1 end)
    refused("no integer representation", function() return numbers[1.5] end)
    refused("cannot be indexed with a boolean", function() return numbers[true] end)
    assert.are.equal(2, numbers[1.0])
    assert.are.equal(2, #api.grid)
    assert.are.equal(3, #api.grid[0])
    assert.are.equal(6, api.grid[0][2].y)
    assert.is_nil(api.grid[2])
    refused("too many", hot.new, "int[2]", { 1, 2, 3 })
    assert.are.equal(9, hot.new("int[2]", 8, 9)[1])
    refused("length of 'int %*' is not known", function() return #api.get_numbers() end)
    refused("length of 'struct point' is not known", function() return #types.point() end)
  end)

  it("of char holds text", function()
    assert.are.equal("abc", hot.string(api.title))
    api.title = "defg"
    assert.are.equal("defg", hot.string(api.title))
    refused("string of 9 bytes does not fit in 'char%[8%]'", function() api.title = "123456789" end)
    assert.are.equal("ab\0\0", hot.string(hot.new("char[4]", "ab"), 4))
    refused("5 bytes asked for, but the object has 4", hot.string, hot.new("char[4]"), 5)
    assert.are.equal("abc", hot.string(hot.cast("void *", hot.new("char[4]", "abc"))))
  end)

  it("or a struct, told apart by the depth of the braces and the names", function()
    local given = t.load([[
      struct point { int x, y; };
      struct box { struct point low, high; };
      struct named { char name[4]; int value; };
      struct list { int items[3]; };
      int area(const struct box *b, int n) { int s = 0; for (; n--; b++)
        s += (b->high.x - b->low.x) * (b->high.y - b->low.y); return s; }
      int value(const struct named *l, int n) { int s = 0; for (; n--; l++) s += l->value + l->name[0]; return s; }
      int total(const struct list *l, int n) { int s = 0; for (; n--; l++) s += l->items[0] + l->items[2]; return s; }
    ]], { watch = false })
    local area, value, total, point = given.api.area, given.api.value, given.api.total, given.types.point
    assert.are.equal(6, area({ { 1, 1 }, { 3, 4 } }, 1))
    assert.are.equal(6, area({ { x = 1, y = 1 }, { x = 3, y = 4 } }, 1))
    assert.are.equal(6, area({ low = { 1, 1 }, high = { 3, 4 } }, 1))
    assert.are.equal(6, area({ point(1, 1), point(3, 4) }, 1))
    assert.are.equal(7, area({ { { 1, 1 }, { 3, 4 } }, { { 0, 0 }, { 1, 1 } } }, 2))
    assert.are.equal(7, area({ { point(1, 1), point(3, 4) }, { { 0, 0 }, { 1, 1 } } }, 2))
    assert.are.equal(7, area({ { low = { 1, 1 }, high = { 3, 4 } }, { high = { 1, 1 } } }, 2))
    assert.are.equal(98, value({ "a", 1 }, 1))
    assert.are.equal(98, value({ { 97 }, 1 }, 1))
    assert.are.equal(198, value({ { "a", 1 }, { "b", 2 } }, 2))
    assert.are.equal(4, total({ { 1, 2, 3 } }, 1))
    assert.are.equal(9, total({ { { 1, 2, 3 } }, { { 4, 5, 1 } } }, 2))
    assert.are.equal(9, total({ { items = { 1, 2, 3 } }, { items = { 4, 5, 1 } } }, 2))
  end)

  it("without a bound has that of its initialiser, as in C", function()
    local list, text = hot.new("int[]", { 1, 2, 3 }), hot.new("char[]", "abc")
    assert.are.same({ 3, 3, 4 }, { #list, list[2], #text })
    assert.are.equal(12, hot.sizeof(list))
    assert.are.equal("abc", hot.string(text))
    assert.are.equal(2, #types["struct point[]"] { [0] = { 1 }, { 2 } })
    assert.are.equal(6, api.sum(list, 3))
    refused("size is not known", hot.new, "int[]")
    refused("size is not known", hot.new, "int[]", {})
  end)

  it("is passed as a pointer, const ones also from tables", function()
    assert.are.equal(10, api.sum(api.numbers, 4))
    assert.are.equal(6, api.sum({ 1, 2, 3 }, 3))
    assert.are.equal(15, api.sum(hot.new("int[2]", { 7, 8 }), 2))
    refused("bad argument #1 to 'sum' %(", api.sum, "text", 1)
    refused("bad argument #1 to 'sum' %(", api.sum, hot.new("double[2]"), 1)
    refused("bad argument #1 to 'fill' %(", api.fill, "literal", 3)
    local buffer = hot.new("char[8]")
    assert.are.equal(5, api.fill(buffer, 5))
    assert.are.equal("xxxxx", hot.string(buffer))
  end)
end)

describe("bit-fields, flexible arrays, unions, anonymous members", function()
  local api, types
  before_each(function()
    local plugin = t.load(source, { watch = false })
    api, types = plugin.api, plugin.types
  end)

  it("bit-fields keep to their width and sign", function()
    local bits = types.bits { low = 7, middle = -16, flag = true, wide = 1 << 39, tint = "GREEN" }
    assert.are.same({ 7, -16, true, 1 << 39, 5 }, { bits.low, bits.middle, bits.flag, bits.wide, bits.tint })
    assert.are.equal(7000 - 16, api.read_bits(bits))
    bits.middle = 15
    assert.are.equal(7015, api.read_bits(bits))
    refused("out of range", function() bits.low = 8 end)
    refused("out of range", function() bits.middle = 16 end)
    refused("out of range", function() bits.wide = 1 << 40 end)
    refused("out of range", function() bits.low = -1 end)
    assert.are.same({ 7, 15, true, 1 << 39, 5 }, { bits.low, bits.middle, bits.flag, bits.wide, bits.tint })
  end)

  it("a flexible array has the room that its initialiser gave it", function()
    local list = types.list { count = 3, items = { 10, 20, 30 } }
    assert.are.equal(60, api.sum_list(list))
    assert.are.equal(3, #list.items)
    assert.is_nil(list.items[3])
    refused("out of bounds", function() list.items[3] = 1 end)
    assert.are.equal(0, #types.list { 0 }.items)
    assert.are.equal(30, api.sum_list { count = 2, items = { 10, 20 } })
  end)

  it("the members of a union share their bytes", function()
    local word = types.word { whole = 0x3f800000 }
    assert.are.equal(1.0, word.real)
    word.bytes[3] = 0xc0
    assert.are.equal(0xc0800000, word.whole)
    assert.are.equal(0xc08000ff, api.mix(word).whole)
    assert.are.equal(2.0, types.word { real = 2 }.real)
  end)

  it("anonymous members are reached directly", function()
    local outer = types.outer { kind = 1, low = 2, high = 3, named = { deep = 4 } }
    assert.are.equal(3 << 16 | 2, outer.number)
    outer.number = 1 << 16
    assert.are.same({ 0, 1, 4 }, { outer.low, outer.high, outer.named.deep })
    assert.are.equal(4, hot.offsetof(types.outer, "low"))
    assert.are.equal(6, hot.offsetof(types.outer, "high"))
    local function parts(value) return { value.kind, value.number, value.named.deep } end
    assert.are.same({ 1, 2, 3 }, parts(types.outer { 1, 2, { 3 } }))
    assert.are.same({ 1, 2, 3 }, parts(types.outer { 1, { 2 }, { 3 } }))
    assert.are.same({ 1, 2 << 16, 3 }, parts(types.outer { 1, { high = 2 }, { 3 } }))
    refused("union {.*has no field 'deep'", types.outer, { 1, { deep = 2 } })
    refused("too many values", types.outer, { 1, { 2, 3 } })
    refused("number expected, got table", types.outer, { {} })
  end)
end)

describe("a pointer", function()
  local plugin, api, types
  before_each(function()
    plugin = t.load(source, { watch = false })
    api, types = plugin.api, plugin.types
  end)

  it("is followed by a dot and by [i], NULL is nil", function()
    assert.are.equal(3, api.get_where().x)
    api.get_where().x = 30
    assert.are.equal(30, api.where.x)
    assert.are.equal(3, api.get_numbers()[2])
    assert.are.equal(api.where.y, api.chosen.y)
    assert.is_nil(api.first.next)
    api.chosen = nil
    assert.is_nil(api.chosen)
    refused("null pointer", function() return types["struct point *"]().x end)
  end)

  it("equals what points to the same place", function()
    assert.is_true(api.get_where() == api.get_where())
    assert.is_true(api.get_where() == api.where)
    assert.is_false(api.get_where() == types.point { 3, 4 })
    assert.is_true(hot.cast("void *", api.get_where()) == api.get_where())
    assert.are.equal(hot.address(api.where), hot.address(api.get_where()))
    assert.is_false(api.get_where() == nil)
    assert.is_true(api.get_numbers() == api.numbers)
    assert.is_true(api.numbers == api.get_numbers())
    assert.is_false(api.get_numbers() == types.point())
    assert.is_false(types.point { 1 } == types.point { 1 })
  end)

  it("takes results out of parameters", function()
    local quotient, rest = hot.new "int", hot.new "int[1]"
    api.divide(17, 5, quotient, rest)
    assert.are.same({ 3, 2 }, { quotient.value, rest[0] })
    assert.are.equal(3, quotient[0])
    local text = hot.new "const char *[1]"
    api.set_text(text)
    assert.are.equal("from C", text[0])
    local made = types["struct point *[1]"]()
    api.make(made)
    assert.are.same({ 7, 8 }, { made[0].x, made[0].y })
    api.drop(made[0])
  end)

  it("to pointers, kept alive as long as C holds it in memory of an object", function()
    local rows = hot.new("int *[3]", { hot.new("int", 4), hot.new("int", 5), hot.new("int", 6) })
    collectgarbage()
    collectgarbage()
    assert.are.equal(15, api.row_sum(rows, 3))
    local list
    for i = 1, 20 do list = api.push(list, types.node { value = i }) end
    assert.are.equal(20, list.value)
    local head = types.node { value = 1 }
    for i = 2, 200 do head = types.node { value = i, next = head } end
    collectgarbage()
    collectgarbage()
    assert.are.equal(200 * 201 // 2, api.total(head))
    local next = head.next.next
    head = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.are.equal(198 * 199 // 2, api.total(next))
  end)

  it("stored in a variable keeps what it leads to", function()
    api.first.next = types.node { value = 41 }
    collectgarbage()
    collectgarbage()
    local filler = {}
    for i = 1, 100 do filler[i] = types.node { value = 1000 } end
    assert.are.equal(42, api.total(api.first))
    assert.are.equal(100, #filler)
    api.first.next = nil
    assert.are.equal(1, api.total(api.first))
  end)

  it("of other types is refused, void * and NULL are not", function()
    refused("bad argument #1 to 'total' %(.*node.*point", api.total, types.point())
    refused("bad argument #1 to 'close_hidden'", api.close_hidden, types.point())
    local hidden = api.open_hidden()
    refused("'struct hidden' has no field 'x': its definition is not known", function() return hidden.x end)
    refused("cannot be indexed", function() return hidden[0] end)
    api.close_hidden(hidden)
    local point = types.point { 1, 2 }
    local any = hot.cast("void *", point)
    refused("cannot be indexed with a number", function() return any[0] end)
    assert.are.equal(2, hot.cast(types["struct point *"], any).y)
    assert.are.equal(0, api.total(nil))
  end)

  it("that C gives back keeps the argument alive into which it leads", function()
    local search = t.load([[
      char *skip(int n, char *text) { return text + n; }
      const void *const_skip(int n, const void *text) { return (const char *)text + n; }
    ]], { watch = false }).api
    local long = ("x"):rep(100)
    local found = search.skip(2, hot.new("char[100]", long))
    local inside = search.skip(3, hot.new("struct { int i; char text[100]; }", { 0, long }).text)
    local string = search.const_skip(4, long .. tostring(#long))
    collectgarbage()
    collectgarbage()
    local others = {}
    for i = 1, 1000 do others[i] = hot.new("char[100]", ("y"):rep(100)) .. i end
    assert.are.equal(long:sub(3), hot.string(found, 98))
    assert.are.equal(long:sub(4), hot.string(inside, 97))
    assert.are.equal(long:sub(5) .. "100", hot.string(string, 99))
    assert.are.equal(1000, #others)
  end)

  it("keeps the owner of the memory alive", function()
    local corner, weights
    do
      local shape = types.shape { corners = { {}, { 5, 6 } }, weights = { {}, { 7, 8 } } }
      corner, weights = shape.corners[1], shape.weights[1]
    end
    local pointer = hot.cast("int *", types.point { 77, 78 })
    collectgarbage()
    collectgarbage()
    local filler = {}
    for i = 1, 200 do filler[i] = types.shape { corners = { {}, { -1, -1 } } } end
    assert.are.same({ 5, 6, 7, 8 }, { corner.x, corner.y, weights[0], weights[1] })
    assert.are.same({ 77, 78 }, { pointer[0], pointer[1] })
    assert.are.equal(200, #filler)
  end)
end)

describe("hot's functions for memory and types", function()
  local plugin, api, types
  before_each(function()
    plugin = t.load(source, { watch = false })
    api, types = plugin.api, plugin.types
  end)

  it("sizeof and offsetof say what the compiler says", function()
    assert.are.equal(8, hot.sizeof(types.point))
    assert.are.equal(8, hot.sizeof(types.point()))
    assert.are.equal(8, hot.sizeof "int *")
    assert.are.equal(12, hot.sizeof "int[3]")
    assert.are.equal(16, hot.sizeof "long double")
    assert.are.equal(48, hot.sizeof(api.grid))
    assert.are.equal(4 + 6, hot.sizeof(types.list { count = 3, items = { 1, 2, 3 } }))
    assert.are.equal(4, hot.offsetof(types.point, "y"))
    assert.are.equal(8, hot.offsetof(types.shape, "corners"))
    refused("no field 'z'", hot.offsetof, types.point, "z")
    assert.are.same({ 0, 3, 5 }, { hot.offsetof(types.bits, "middle") })
    refused("size.*not known", hot.sizeof, types.hidden)
  end)

  it("typeof gives the type, which compares and prints", function()
    assert.are.equal("struct point", tostring(hot.typeof(types.point())))
    assert.is_true(hot.typeof(types.point()) == types.point)
    assert.is_false(types.point == types.node)
    assert.are.equal("int[4]", tostring(hot.typeof(api.numbers)))
    assert.is_true(hot.typeof "int" == hot.typeof "signed int")
    assert.are.equal(1, hot.typeof(types.point())(1, 2).x)
  end)

  it("type expressions reach over the plugin's types", function()
    local list = types["struct point *[4]"]()
    local point = types.point { 5, 6 }
    list[2] = point
    point = nil -- luacheck: ignore
    collectgarbage()
    assert.are.equal(6, list[2].y)
    assert.is_nil(list[0])
    assert.are.equal(4, #list)
    assert.are.equal(16, hot.sizeof(types["struct point[2]"]))
    assert.are.equal("enum colour", tostring(types["enum colour"]))
    assert.are.equal(5, types.colour.GREEN)
    refused("struct nothing", function() return types["struct nothing[2]"]() end)
    refused("bad C type", hot.new, "int[")
    refused("bad C type 'nonsense'", hot.new, "nonsense")
    refused("no type 'no_such_type'", function() return types.no_such_type end)
  end)

  it("cast changes numbers as C does, and pointers", function()
    assert.are.equal(255, hot.cast("uint8_t", -1))
    assert.are.equal(-1, hot.cast("int8_t", 255))
    assert.are.equal(3, hot.cast("int", 3.9))
    assert.is_true(hot.cast("bool", 0.5))
    assert.are.equal(0.5, hot.cast("float", 0.5))
    assert.are.equal(hot.address(api.where), hot.cast("intptr_t", api.get_where()))
    assert.are.equal(4, hot.cast("int *", hot.address(api.where))[1])
    assert.is_nil(hot.cast("int *", 0))
    assert.are.same({ 3.0, 4, true }, { hot.cast("double", hot.new("int", 3)),
      hot.cast("int", hot.new("double", 4.5)), hot.cast("bool", hot.new("char", 1)) })
    assert.are.equal(3, hot.cast("int *", hot.new("int", 3))[0])
    refused("cannot be written", hot.cast, "char *", "literal")
    assert.are.equal(98, hot.cast("const char *", "abc")[1])
    refused("bad argument #2 to '.*cast' %(number or pointer expected, got string%)", hot.cast, "int", "12")
    refused("make a callback", hot.cast, "void (*)(void)", function() end)
  end)

  it("string and copy stay within the objects", function()
    local to = hot.new "uint8_t[4]"
    hot.copy(to, "ab")
    assert.are.same({ 97, 98, 0, 0 }, { to[0], to[1], to[2], to[3] })
    hot.copy(to, hot.new("uint8_t[2]", { 1, 2 }))
    assert.are.equal(2, to[1])
    refused("5 bytes do not fit", hot.copy, to, "abcde")
    refused("8 bytes do not fit", hot.copy, to, types.point(), 8)
    refused("the length is not known", hot.copy, to, api.get_numbers())
    refused("must not be negative", hot.copy, to, "a", -1)
    refused("must not be negative", hot.string, to, -1)
    assert.are.equal("\1\2", hot.string(to, 2))
    assert.are.equal("\3\0\0\0\4\0\0\0", hot.string(api.where, 8))
    refused("give the length", hot.string, types.point())
    refused("C object expected, got nil", hot.string, nil)
    assert.are.equal("from C", hot.string "from C")
  end)

  it("address is that of the memory, 0 of nil", function()
    assert.are.equal(hot.address(api.numbers), hot.address(api.get_numbers()))
    assert.are.equal(hot.address(api.numbers) + 4, hot.address(hot.cast("int *", hot.address(api.numbers) + 4)))
    assert.are.equal(0, hot.address(nil))
    refused("C object expected, got boolean", hot.address, true)
  end)

  it("long double and _Complex go through, with the precision of a double", function()
    assert.are.equal(1.25, api.halve(2.5))
    assert.are.same({ -2.0, 1.0 }, api.turn { 1, 2 })
    assert.are.same({ 0.0, 3.0 }, api.turn(3))
    refused("bad argument #1 to 'turn'", api.turn, "i")
    assert.are.equal(0.5, hot.new("long double", 0.5).value)
    assert.are.equal(2.0, hot.new("double _Complex", { 1, 2 }).value[2])
  end)

  it("structs and unions go by value, from tables too", function()
    local point = types.point { 1, 2 }
    local moved = api.move(point, 10)
    assert.are.same({ 1, 11 }, { point.x, moved.x })
    assert.are.equal(12, api.move({ x = 2 }, 10).x)
    assert.are.equal(25.0, api.length2 { 3, 4 })
    assert.are.equal(25.0, api.length2(api.where))
    assert.are.equal(25.0, api.length2(api.get_where()))
    refused("bad argument #1 to 'length2' %(", api.length2, { z = 1 })
    refused("bad argument #1 to 'length2' %(", api.length2, nil)
    refused("bad argument #1 to 'length2' %(", api.length2, types.word())
  end)

  it("structs of uncommon alignment go by value, or are refused", function()
    local aligned = t.load([[
      typedef struct { long a; } __attribute__((aligned(16))) half;
      typedef struct { char a; _Alignas(16) char b; } both;
      typedef struct { long a; } __attribute__((aligned(32))) wide;
      long first(int p, half x, int q) { return x.a * 100 + p * 10 + q; }
      long second(int p, both x, int q) { return x.b * 100 + p * 10 + q; }
      long third(int p, wide x, int q) { return x.a * 100 + p * 10 + q; }
      wide make(void) { return (wide){ 7 }; }
      long call_first(long (*f)(half, int)) { return f((half){ 7 }, 2); }
      long call_second(long (*f)(both, int)) { return f((both){ 1, 7 }, 2); }
      long by_pointer(const wide *x) { return x->a; }
    ]], { watch = false }).api
    assert.are.same({ 712, 712 }, { aligned.first(1, { 7 }, 2), aligned.second(1, { 0, 7 }, 2) })
    assert.are.equal(72, aligned.call_second(function(x, q) return x.b * 10 + q end))
    refused("argument #1: half of it is padding", aligned.call_first, function(x, q) return x.a * 10 + q end)
    refused("'wide' is aligned to more than 16 bytes", aligned.third, 1, { 7 }, 2)
    refused("'wide' is aligned to more than 16 bytes", aligned.make)
    assert.are.equal(7, aligned.by_pointer { 7 })
  end)

  it("a struct of a long double goes by value, and where C has none says so", function()
    local extended = t.load([[
      struct alone { struct { long double q; } inner; };
      union either { long double q; int i; };
      struct alone grow(int a, struct alone x, double b) { x.inner.q = x.inner.q * a + b; return x; }
      struct alone call(struct alone (*f)(struct alone), struct alone x) { return f(x); }
      double take(union either x) { return x.q; }
      union either give(void) { return (union either){ 2.5L }; }
    ]], { watch = false }).api
    assert.are.equal(4.0, extended.grow(2, { { 1.5 } }, 1).inner.q)
    assert.are.equal(3.0, extended.call(function(x) return { { x.inner.q * 2 } } end, { { 1.5 } }).inner.q)
    assert.are.equal(1.5, extended.take { q = 1.5 })
    refused("long double and something else in the same bytes", extended.give)
  end)
end)
