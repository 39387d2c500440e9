-- Types from debug information: compilers, DWARF versions, compression, separate files.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local source = [[
#include <stdbool.h>
#include <stdint.h>
enum level { LOW, HIGH = 7 };
struct opaque;
typedef struct { int x; double y; } pair;
int limit = 3;
static unsigned char file_static = 200;
const char *title = "first";
bool ready = true;
enum level level = HIGH;
static const double ratio = 0.5;
int add(int a, int b) { return a + b; }
uint64_t wide(uint64_t x) { return x; }
float half(float x) { return x / 2; }
enum level higher(enum level l) { return l + 1; }
const char *echo(const char *text) { return text; }
struct opaque *same(struct opaque *o) { return o; }
void count(void) { static int calls = 40; calls++; limit += calls > 0; file_static++; }
double sum(pair p) { return p.x + p.y + ratio; }
float _Complex conjugate(float _Complex z) { return ~z; }
]]

local function has(command)
  return os.execute(("command -v %s >/dev/null 2>&1"):format(command))
end

local function run(command)
  assert(os.execute(command), command)
end

-- Everything that the source says, seen from Lua.
local function check(path)
  local plugin = t.load(path)
  local api = plugin.api
  assert.are.equal(5, api.add(2, 3))
  assert.are.equal(-1, api.wide(-1))
  assert.are.equal(0.25, api.half(0.5))
  assert.are.equal(8, api.higher("HIGH"))
  assert.are.equal("hello", api.echo("hello"))
  assert.is_nil(api.same(nil))
  assert.are.equal(3, api.limit)
  assert.are.equal("first", api.title)
  assert.is_true(api.ready)
  assert.are.equal(7, api.level)
  assert.are.equal(200, api.file_static)
  assert.are.equal(40, api["count.calls"])
  api.count()
  assert.are.equal(41, api["count.calls"])
  assert.are.equal(201, api.file_static)
  api.limit = 10
  api.count()
  assert.are.equal(11, api.limit)
  assert.are.equal(6.0, api.sum { x = 3, y = 2.5 })
  assert.are.equal(16, hot.sizeof(plugin.types.pair))
  local signatures = {}
  for _, export in ipairs(plugin:exports()) do signatures[export.name] = export.signature end
  assert.are.equal("float half(float x)", signatures.half)
  assert.are.equal("double sum(pair p)", signatures.sum)
  assert.are.equal("float _Complex conjugate(float _Complex z)", signatures.conjugate)
  assert.are.equal("struct opaque *same(struct opaque *o)", signatures.same)
end

describe("debug info", function()
  local directory, c_file
  before_each(function()
    directory = t.tmpdir()
    c_file = directory .. "/plugin.c"
    t.write(c_file, source)
  end)

  local function compile(compiler, flags)
    local path = directory .. "/plugin.so"
    run(("%s %s -shared -fPIC -o %s %s"):format(compiler, flags, path, c_file))
    return path
  end

  for _, compiler in ipairs { "gcc", "clang" } do
    for _, flags in ipairs { "-gdwarf-4 -O0", "-gdwarf-5 -O0", "-gdwarf-4 -O2", "-gdwarf-5 -O2", "-g -gz=zlib",
      "-g -gdwarf64 -gdwarf-5", "-g3", "-gdwarf-4 -fdebug-types-section", "-gdwarf-5 -fdebug-types-section" } do
      it(("is read as %s %s writes it"):format(compiler, flags), function()
        if not has(compiler) then return pending(compiler .. " is not installed") end
        check(compile(compiler, flags))
      end)
    end
  end

  it("is found in a separate file named by the debug link", function()
    local path = compile("gcc", "-g -Wl,--build-id=none")
    run(("cd %s && objcopy --only-keep-debug plugin.so plugin.debug && strip -g plugin.so && "
      .. "objcopy --add-gnu-debuglink=plugin.debug plugin.so"):format(directory))
    check(path)
    local before = uv.cwd()
    uv.chdir(directory)
    local found = hot.inspect("plugin.so")
    uv.chdir(before)
    assert.are.equal("int add(int a, int b)", found.functions.add.signature)
  end)

  it("is found in a separate file in .debug beside the plugin", function()
    local path = compile("gcc", "-g -Wl,--build-id=none")
    run(("cd %s && mkdir .debug && objcopy --only-keep-debug plugin.so .debug/plugin.debug && strip -g plugin.so && "
      .. "objcopy --add-gnu-debuglink=.debug/plugin.debug plugin.so"):format(directory))
    check(path)
  end)

  it("of type units in .dwo files says what cannot be read and what helps", function()
    run(("cd %s && gcc -gdwarf-4 -gsplit-dwarf -fdebug-types-section -shared -fPIC -o plugin.so plugin.c"):format(directory))
    local plugin = t.load(directory .. "/plugin.so")
    assert.are.equal(5, plugin.api.add(2, 3))
    assert.error_matches(function() plugin.api.higher(1) end, "compile without %-fdebug%-types%-section")
    run(("cd %s && gcc -gdwarf-5 -gsplit-dwarf -fdebug-types-section -shared -fPIC -o five.so plugin.c"):format(directory))
    local five = t.load(directory .. "/five.so")
    assert.error_matches(function() five.api.add(1, 2) end, "split DWARF.*compile without %-fdebug%-types%-section")
  end)

  it("that is missing leaves functions callable by cdef, and says what helps", function()
    local path = compile("gcc", "-g0")
    local plugin = t.load(path)
    local ok, message = pcall(plugin.api.add, 1, 2)
    assert.is_false(ok)
    assert.matches("compile with %-g", message)
  end)

  it("that is stripped while the file is swapped does not disturb the old image", function()
    local path = compile("gcc", "-g")
    local plugin = t.load(path)
    assert.are.equal(5, plugin.api.add(2, 3))
    local other = compile("gcc", "-g0 -DOTHER")
    assert.is_truthy(uv.fs_stat(other))
    local report = plugin:reload()
    assert.is_true(report.ok)
    assert.error_matches(function() plugin.api.add(2, 3) end, "no known signature")
  end)

  it("gives file and line of an address", function()
    local plugin = t.load(compile("gcc", "-g -O0"))
    local image = plugin:info().images[1]
    local inside
    for offset = 0, image.size, 4 do
      local found = hot.symbolize(image.base + offset)
      if found and found.symbol == "add" then inside = inside or found end
    end
    local place = assert(inside)
    assert.are.equal("add", place.symbol)
    assert.matches("plugin%.c$", place.source)
    assert.are.equal(12, place.line)
    assert.are.equal(plugin:info().name, place.plugin)
    assert.are.equal(1, place.generation)
  end)
end)
