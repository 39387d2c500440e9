-- Calls: scalars of every width in and out, errors in Lua's own words, what is refused and why.
local hot = require "hotlua"
local t = require "hotlua.test"

local source = [[
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>
enum colour { RED, GREEN = 5, BLUE = -2 };
struct hidden;
int8_t i8(int8_t x) { return x; }
uint8_t u8(uint8_t x) { return x; }
int16_t i16(int16_t x) { return x; }
uint16_t u16(uint16_t x) { return x; }
int32_t i32(int32_t x) { return x; }
uint32_t u32(uint32_t x) { return x; }
int64_t i64(int64_t x) { return x; }
uint64_t u64(uint64_t x) { return x; }
char character(char x) { return x; }
float single(float x) { return x * 2; }
double twice(double x) { return x * 2; }
bool negate(bool x) { return !x; }
enum colour paint(enum colour x) { return x; }
const char *name(const char *x) { return x; }
size_t length(const char *x) { return x ? strlen(x) : 99; }
void nothing(void) {}
void *pointer(void *x) { return x; }
struct hidden *handle(struct hidden *x) { return x; }
int add(int a, int b) { return a + b; }
double mixed(int a, double b, const char *c, int64_t d, float e) { return a + b + strlen(c) + d + e; }
int ninth(int a, int b, int c, int d, int e, int f, int g, int h, int i) { return i - a; }
int fail(void) { errno = ENOENT; return -1; }
int narrow(void) { return -1; }
]]

local function refused(pattern, fn, ...)
  local arguments = table.pack(...)
  local ok, message = pcall(fn, table.unpack(arguments, 1, arguments.n))
  assert.is_false(ok)
  assert.matches(pattern, message)
end

describe("a call", function()
  local plugin, api
  before_each(function()
    plugin = t.load(source)
    api = plugin.api
  end)

  it("takes and gives integers of every width, and checks their ranges", function()
    local ranges = {
      i8 = { -128, 127 }, u8 = { 0, 255 }, i16 = { -32768, 32767 }, u16 = { 0, 65535 },
      i32 = { -2 ^ 31 | 0, 2 ^ 31 - 1 | 0 }, u32 = { 0, 2 ^ 32 - 1 | 0 },
    }
    for name, range in pairs(ranges) do
      local fn = api[name]
      assert.are.equal(range[1], fn(range[1]))
      assert.are.equal(range[2], fn(range[2]))
      refused("bad argument #1 to '" .. name .. "' %(.*out of range", fn, range[1] - 1)
      refused("bad argument #1 to '" .. name .. "' %(.*out of range", fn, range[2] + 1)
    end
    assert.are.equal(math.mininteger, api.i64(math.mininteger))
    assert.are.equal(-1, api.u64(-1))
    assert.are.equal(-1, api.narrow())
    assert.are.equal(65, api.character(65))
  end)

  it("takes floats with an integral value as integers, and no others", function()
    assert.are.equal("integer", math.type(api.i32(3.0)))
    refused("number has no integer representation", api.i32, 3.5)
    refused("number out of range for 'int64_t'", api.i64, 2 ^ 63)
  end)

  it("takes numbers as floats and gives floats", function()
    assert.are.equal(3.0, api.twice(1.5))
    assert.are.equal("float", math.type(api.twice(2)))
    assert.are.equal(0.5, api.single(0.25))
    assert.are.equal(math.huge, api.twice(math.huge))
  end)

  it("takes booleans as bool only", function()
    assert.is_false(api.negate(true))
    assert.is_true(api.negate(false))
    refused("bad argument #1 to 'negate' %(boolean expected, got number%)", api.negate, 1)
    refused("bad argument #1 to 'negate' %(boolean expected, got nil%)", api.negate, nil)
  end)

  it("takes enums by value and by name", function()
    assert.are.equal(5, api.paint(5))
    assert.are.equal(5, api.paint("GREEN"))
    assert.are.equal(-2, api.paint("BLUE"))
    assert.are.equal(5, plugin.enums.GREEN)
    refused("'PINK' is not an enumerator of 'enum colour'", api.paint, "PINK")
  end)

  it("takes strings and nil as const char *", function()
    assert.are.equal("x", api.name("x"))
    assert.is_nil(api.name(nil))
    assert.are.equal(5, api.length("hello"))
    assert.are.equal(99, api.length(nil))
    refused("bad argument #1 to 'length' %(string expected, got number%)", api.length, 12)
    refused("string expected, got boolean", api.length, true)
  end)

  it("passes opaque pointers through", function()
    assert.is_nil(api.pointer(nil))
    assert.is_nil(api.handle(nil))
    local here = hot.new("int")
    local pointer = api.pointer(here)
    assert.are.equal(hot.address(here), hot.address(pointer))
    assert.are.equal(pointer, api.pointer(pointer))
  end)

  it("says in Lua's words what is wrong with the arguments", function()
    refused("bad argument #2 to 'add' %(number expected, got string%)", api.add, 1, "x")
    refused("bad argument #2 to 'add' %(number expected, got string%)", api.add, 1, "10")
    refused("bad argument #2 to 'add' %(number expected, got no value%)", api.add, 1)
    refused("bad argument #1 to 'add' %(number expected, got no value%)", api.add)
    refused("wrong number of arguments to 'add' %(2 expected, got 3%)", api.add, 1, 2, 3)
    refused("bad argument #1 to 'twice' %(number expected, got nil%)", api.twice, nil)
    assert.are.equal(3, api.add(1, 2))
  end)

  it("takes more arguments than there are registers, and mixtures", function()
    assert.are.equal(8, api.ninth(1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert.are.equal(1 + 2.5 + 3 + 4 + 0.5, api.mixed(1, 2.5, "abc", 4, 0.5))
  end)

  it("gives nothing for void", function()
    assert.are.equal(0, select("#", api.nothing()))
  end)

  it("keeps errno for hot.errno()", function()
    assert.are.equal(-1, api.fail())
    assert.are.equal(2, hot.errno())
  end)

  it("lists exports with their signatures", function()
    local signatures = {}
    for _, export in ipairs(plugin:exports()) do signatures[export.name] = export.signature end
    assert.are.equal("int add(int a, int b)", signatures.add)
    assert.are.equal("const char *name(const char *x)", signatures.name)
    assert.are.equal("void nothing(void)", signatures.nothing)
  end)
end)

describe("a function without debug info", function()
  it("is callable once declared, and says how to get a signature before", function()
    local path = t.build("int add(int a, int b) { return a + b; }", "-g0")
    local plugin = t.load(path)
    refused("'add' has no known signature.*compile with %-g.*cdef", plugin.api.add, 1, 2)
    plugin:close()
    local declared = t.load(path, { cdef = "int add(int, int);" })
    assert.are.equal(3, declared.api.add(1, 2))
  end)
end)

describe("a function that is not there", function()
  it("is nil in api before it ever was", function()
    local plugin = t.load(source)
    assert.is_nil(plugin.api.no_such_function)
  end)
end)
