-- hot.inspect, hotlua inspect, hotlua stubs: what is in a file that is not loaded.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local program = assert(uv.exepath())

local source = [[
#include <stddef.h>
#include <stdint.h>
struct point { int x, y; };
typedef struct {
    double weight;
    unsigned low : 3, high : 5;
    struct { int inner; };
    union { int i; float f; } either;
} blob;
enum colour { RED, GREEN = 7, BLUE = -2 };
enum wide { LARGE = 0x4000000000000001 };
struct opaque;
typedef struct point place;
place here;
int total = 3;
static long hidden = 9;
const double pi = 3.14;
__thread int own;
struct point table[4];
int (*handler)(int, const char *);
int add(int a, int b) { static int calls; calls++; hidden += a; return a + b + total; }
const char *name_of(enum colour c, struct point *p, blob b) { return c && p && b.low ? "x" : "y"; }
void walk(struct opaque *o, int (*each)(void *user, struct point p), void *user, ...)
{ (void)o, (void)each, (void)user; }
enum wide widest(size_t end, struct point by) { return end + by.x ? LARGE : 0; }
__attribute__((constructor)) static void never(void) { __builtin_trap(); }
]]

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs this program's command; returns its output (both streams) and exit status.
local function run(arguments, environment)
  local pipe = io.popen(("%s %s %s 2>&1"):format(environment or "", quote(program), arguments))
  local output = pipe:read "a"
  local _, _, code = pipe:close()
  return output, code
end

describe("hot.inspect", function()
  local file
  before_each(function() file = hot.inspect(t.build(source)) end)

  it("does not run the file", function()
    assert.is_true(file.bytes > 0)       -- its constructor would have ended this process
    assert.is_true(file.size > 0)
    assert.matches("^%x+$", file.build_id)
    assert.is_nil(file.no_debug)
  end)

  it("lists exports, sorted by name", function()
    local names = {}
    for i, export in ipairs(file.exports) do names[i] = export.kind .. " " .. export.name end
    assert.are.same({
      "function add", "variable handler", "variable here", "function name_of", "variable own",
      "variable pi", "variable table", "variable total", "function walk", "function widest",
    }, names)
    assert.are.equal("int add(int a, int b)", file.exports.add.signature)
  end)

  it("describes functions by their parameters and result", function()
    local walk = file.functions.walk
    assert.is_true(walk.variadic)
    assert.are.equal("void", walk.result.kind)
    assert.are.equal("each", walk.parameters[2].name)
    assert.are.equal("int (*)(void *, struct point)", walk.parameters[2].type)
    assert.are.equal("function", walk.parameters[2].target.kind)
    assert.are.equal("colour", file.functions.name_of.parameters[1].tag)
    assert.is_true(file.functions.add.size > 0)
    assert.is_nil(file.functions.nothing)
  end)

  it("describes variables, statics included", function()
    local variables = file.variables
    assert.are.equal("static", variables.hidden.exported and "exported" or "static")
    assert.are.equal("long", variables.hidden.type)
    assert.are.equal(4, variables["add.calls"].size)
    assert.is_true(variables.own.thread_local)
    assert.is_false(variables.pi.writable)
    assert.is_true(variables.total.writable)
    assert.are.equal("struct point table[4]", variables.table.signature)
    assert.are.equal(32, variables.table.size)
  end)

  it("describes types with offsets and sizes", function()
    local point, blob = file.types["struct point"], file.types.blob
    assert.are.equal(8, point.size)
    assert.are.equal(4, point.fields[2].offset)
    assert.are.equal("y", point.fields[2].name)
    assert.are.equal(24, blob.size)
    assert.are.equal(5, blob.fields[3].bits)
    assert.are.equal(3, blob.fields[3].bit_offset)
    assert.are.equal("inner", blob.fields[4].fields[1].name)
    assert.is_true(file.types["struct opaque"].incomplete)
    assert.are.same({ name = "BLUE", value = -2 }, file.types["enum colour"].values[3])
    assert.are.equal(0x4000000000000001, file.types["enum wide"].values[1].value)
  end)

  it("finds debug information that stands in a file of its own", function()
    local directory = t.tmpdir()
    local path = directory .. "/apart.so"
    assert(os.execute(("cp %s %s && cd %s && objcopy --only-keep-debug apart.so apart.debug && " ..
      "objcopy --strip-debug --add-gnu-debuglink=apart.debug apart.so"):format(
      quote(t.build(source)), quote(path), quote(directory))))
    assert.are.equal("int add(int a, int b)", hot.inspect(path).functions.add.signature)
  end)

  it("names what it cannot know without debug information", function()
    local bare = hot.inspect(t.build("int f(int x) { return x; } int v;", "-g0"))
    assert.matches("-g", bare.no_debug)
    assert.is_nil(bare.functions.f.signature)
    assert.are.equal(4, bare.variables.v.size)
  end)

  it("says why a function cannot be called", function()
    local odd = hot.inspect(t.build "__int128 f(__int128 x) { return x; }")
    assert.matches("__int128", odd.functions.f.reason)
    odd = hot.inspect(t.build "typedef int four __attribute__((vector_size(16))); four f(four x) { return x; }")
    assert.are.equal("'f' cannot be called: 'four' is not supported: a vector", odd.functions.f.reason)
    local vectors = "typedef int four __attribute__((vector_size(16))); four v; four l[2]; int i; void f(four x) {}"
    odd = hot.inspect(t.build(vectors))
    assert.are.equal("'four' is not supported: a vector", odd.variables.v.reason)
    assert.are.equal("'four[2]' is not supported: a vector", odd.exports.l.reason)
    assert.is_nil(odd.variables.i.reason)
    local plugin, reasons = t.load(vectors), {}
    for _, export in ipairs(plugin:exports()) do reasons[export.name] = export.reason end
    assert.are.same({
      f = "'f' cannot be called: 'four' is not supported: a vector", v = "'four' is not supported: a vector",
      l = "'four[2]' is not supported: a vector",
    }, reasons)
    assert.error_matches(function() return plugin.api.v end, "'four' is not supported: a vector")
    assert.error_matches(function() plugin.api.v = 1 end,
      "bad value for variable 'v' %('four' is not supported: a vector")
  end)

  it("raises on what is no library", function()
    local path = t.tmpdir() .. "/text.so"
    t.write(path, "this is no library")
    assert.error_matches(function() hot.inspect(path) end, "not an ELF file")
    assert.error_matches(function() hot.inspect "/no/such/file.so" end, "/no/such/file.so")
    assert.error_matches(function() hot.inspect(1) end, "string expected, got number")
  end)
end)

describe("hotlua inspect", function()
  it("prints C text", function()
    local text, status = run("inspect " .. quote(t.build(source)))
    assert.are.equal(0, status)
    for _, line in ipairs {
      "int add(int a, int b);", "static int add.calls;", "_Thread_local int own;",
      "const double pi;",
      "int (*handler)(int, const char *);", "struct point {", "    unsigned int high : 5;",
      "enum colour {", "    GREEN = 7,",
    } do
      assert.is_truthy(text:find("\n" .. line, 1, true), line .. " is not in\n" .. text)
    end
    assert.matches("int y; +/%* 4: 4 %*/", text)
    assert.matches("size 24, align 8", text)
    assert.are.equal(1, select(2, text:gsub("\nstruct point {", "")))
  end)

  it("prints only what is asked for", function()
    local text = run("inspect " .. quote(t.build(source)) .. " add blob pi 'struct point'")
    assert.matches("int add%(", text)
    assert.matches("double weight;", text)
    assert.matches("const double pi;", text)
    assert.not_matches("walk", text)
    assert.not_matches("GREEN", text)
    text = run("inspect " .. quote(t.build(source)) .. " place")
    assert.matches("\ntypedef struct point place;\nstruct point {", text)
    local message, status = run("inspect " .. quote(t.build(source)) .. " nosuch")
    assert.are.equal(1, status)
    assert.matches("no function, variable or type 'nosuch'", message)
  end)

  it("prints JSON with whole integers", function()
    local text, status = run("inspect --json " .. quote(t.build(source)))
    assert.are.equal(0, status)
    assert.is_truthy(text:find("4611686018427387905", 1, true))
    local file = require("dkjson").decode(text)
    assert.are.equal("int add(int a, int b)", file.functions[1].signature)
    assert.are.equal(8, file.types[#file.types].size)
    assert.matches('"needed":%[', text)
  end)

  it("says what to install for JSON", function()
    local text, status = run("inspect --json " .. quote(t.build(source)), "LUA_PATH=/nowhere/?.lua")
    assert.are.equal(1, status)
    assert.matches("^hotlua inspect: .*lua%-dkjson", text)
  end)

  it("tells wrong usage from a file that is none", function()
    local text, status = run "inspect"
    assert.are.equal(2, status)
    assert.matches("usage: hotlua inspect", text)
    assert.are.equal(2, select(2, run "inspect --nonsense a.so"))
    text, status = run "inspect /no/such/file.so"
    assert.are.equal(1, status)
    assert.matches("^hotlua inspect: /no/such/file.so: ", text)
  end)

  it("shows what hot.load would refuse", function()
    if not os.execute "command -v g++ >/dev/null 2>&1" then return pending "no g++" end
    local path = t.tmpdir() .. "/unique.so"
    local unit = path .. ".cc"
    t.write(unit, [[template <class T> struct holder { static int count; };
template <class T> int holder<T>::count = 1;
struct shape { virtual ~shape() {} double area; };
extern "C" int count(const shape *s) { return s ? holder<int>::count : 0; }]])
    assert(os.execute(("g++ -g -fPIC -shared -o %s %s"):format(quote(path), quote(unit))))
    local text, status = run("inspect " .. quote(path))
    assert.are.equal(0, status)
    assert.matches("hot.load would refuse it: .*unique", text)
    assert.matches("int count%(const struct shape %*s%);", text)
  end)
end)

describe("hotlua stubs", function()
  it("writes annotations that are Lua", function()
    local text, status = run("stubs " .. quote(t.build(source)))
    assert.are.equal(0, status)
    assert.matches("^%-%-%-@meta\n", text)
    assert(load(text))
    for _, line in ipairs {
      "---@param a integer # int", "---@return string? # const char *", "---@param ... any",
      "---@field x integer # int", '---| "GREEN" # 7', "---@field RED integer # 0",
      "---@field hidden integer # static long hidden",
      "---@param end_ integer # size_t", "function api.add(a, b) end",
    } do
      assert.is_truthy(text:find("\n" .. line .. "\n", 1, true), line .. " is not in\n" .. text)
    end
    assert.matches("@field point fun%(init%?: table%): [%w_]+%.point", text)
    assert.matches("@param each %(fun%(a1: hotlua.object%?, a2: [%w_]+%.point%): integer%)%?", text)
  end)

  it("says what may be given for a pointer", function()
    local text = run("stubs " .. quote(t.build [[
      struct s { int x; };
      void give(const char *a, const unsigned char *b, const void *c, const int *d, const char *const *e,
                const struct s *f, char *g, void *h, int *i, const int (*j)[3]) {}
      const unsigned char *bytes(void) { return 0; }
    ]]))
    for _, line in ipairs {
      "a string? # const char *", "b hotlua.object|string|table|nil # const unsigned char *",
      "c hotlua.object|string|nil # const void *", "d hotlua.object|table|nil # const int *",
      "e hotlua.object|table|nil # const char *const *", "g hotlua.object? # char *", "h hotlua.object? # void *",
      "i hotlua.object? # int *", "j hotlua.object|table|nil # const int (*)[3]",
    } do
      assert.is_truthy(text:find("\n---@param " .. line .. "\n", 1, true), line .. " is not in\n" .. text)
    end
    assert.matches("@param f [%w_]+%.s|table|nil # const struct s %*\n", text)
    assert.matches("@return hotlua.object%? # const unsigned char %*\n", text)
  end)

  it("writes those of hotlua itself", function()
    local text, status = run "stubs --hotlua"
    assert.are.equal(0, status)
    local module = assert(load(text))()
    for name, value in pairs(hot) do
      if type(value) == "function" then assert.is_function(module[name], name) end
    end
  end)

  it("does with a file without debug information what can be done", function()
    local text = run("stubs " .. quote(t.build("int f(int x) { return x; }", "-g0")))
    assert.matches("function api.f%(%.%.%.%) end", text)
    assert(load(text))
    assert.are.equal(2, select(2, run "stubs"))
  end)
end)

describe("large files", function()
  it("are not read beyond what is asked for", function()
    local lines = {}
    local unit = [[struct s@ { int a@; struct s@ *next; };
      int f@(struct s@ *p) { return p->a@; }]]
    for i = 1, 4000 do lines[i] = unit:gsub("@", i) end
    local path = t.build(table.concat(lines, "\n"), "-O0")
    local began = os.clock()
    local text = run("inspect " .. quote(path) .. " f1234 'struct s77'")
    assert.matches("int f1234%(struct s1234 %*p%);", text)
    assert.matches("int a77;", text)
    assert.not_matches("int a78", text)
    local all = hot.inspect(path)
    assert.are.equal(4000, #all.functions)
    assert.is_true(os.clock() - began < 20)
  end)
end)
