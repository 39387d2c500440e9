-- Shared objects that other languages made, and libraries of the system.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local function has(command)
  return os.execute(("command -v %s >/dev/null 2>&1"):format(command))
end

-- Compile `source` in a directory of the test's own; `command` has the output and the input as %s.
local function build(name, source, command)
  local directory = t.tmpdir()
  t.write(directory .. "/" .. name, source)
  assert(os.execute(("cd %s && " .. command .. " 2>errors || { cat errors >&2; exit 1; }")
    :format(directory, "plugin.so", name)))
  return directory .. "/plugin.so"
end

local function output_of(arguments)
  local pipe = assert(io.popen(("'%s' %s 2>&1"):format(uv.exepath(), arguments)))
  local output = pipe:read("a")
  assert.is_true(pipe:close(), output)
  return output
end

describe("C++", function()
  local source = [[
    #include <stdexcept>
    #include <string>
    namespace app { struct vec { double x, y; }; enum class mode : unsigned char { off, on = 3 }; }
    class counter { public: counter() : n(0) {} int n; private: std::string text; };
    extern "C" {
    int add(int a, int b) { return a + b; }
    app::vec scale(app::vec v, double f) { return {v.x * f, v.y * f}; }
    app::mode toggle(app::mode m) { return m == app::mode::off ? app::mode::on : app::mode::off; }
    bool negate(bool b) { return !b; }
    const char *shout(const char *s) { static std::string t; t = std::string(s) + "!"; return t.c_str(); }
    int first(const app::vec &v) { return (int)v.x; }
    counter *make() { return new counter(); }
    int count(counter *c) { return ++c->n; }
    void drop(counter *c) { delete c; }
    int each(int (*f)(int, void *), void *user) { return f(1, user) + f(2, user); }
    int caught(int x) { try { if (x) throw std::runtime_error("no"); return 1; } catch (std::exception &) { return 2; } }
    int total = 4;
    }
    int mangled(int x) { return x; }
  ]]
  for _, compiler in ipairs { "g++", "clang++" } do
    it(("of %s: what is C in it is called, the rest is refused with the reason"):format(compiler), function()
      if not has(compiler) then return pending(compiler .. " is not installed") end
      local path = build("plugin.cc", source, compiler .. " -g -O1 -shared -fPIC -o %s %s")
      local api = t.load(path, { watch = false }).api
      assert.are.equal(3, api.add(1, 2))
      local scaled = api.scale({ 1, 2 }, 3)
      assert.are.same({ 3.0, 6.0 }, { scaled.x, scaled.y })
      assert.are.equal(3, api.toggle "off")
      assert.is_false(api.negate(true))
      assert.are.equal("hi!", api.shout "hi")
      assert.are.equal(3, api.each(function(x) return x end, nil))
      assert.are.equal(2, api.caught(1))
      assert.are.equal(4, api.total)
      assert.are.equal(5, api._Z7mangledi(5))
      local counter = api.make()
      assert.are.equal(1, api.count(counter))
      api.drop(counter)
      assert.error_matches(function() api.first { 1, 2 } end, "cannot be called: .*a C%+%+ reference")
    end)
  end
end)

describe("Rust", function()
  local source = [[
    use std::ffi::{c_char, c_void, CStr};
    #[repr(C)] #[derive(Clone, Copy)] pub struct Point { pub x: i32, pub y: f64 }
    #[repr(C)] #[derive(Clone, Copy)] pub enum Colour { Red, Green = 5, Blue = -2 }
    #[no_mangle] pub extern "C" fn add(a: i32, b: i32) -> i32 { a + b }
    #[no_mangle] pub extern "C" fn shift(p: Point, dx: i32) -> Point { Point { x: p.x + dx, ..p } }
    #[no_mangle] pub extern "C" fn sum(p: *const Point, n: usize) -> f64 {
        (0..n).map(|i| unsafe { (*p.add(i)).y }).sum()
    }
    #[no_mangle] pub extern "C" fn paint(c: Colour) -> Colour {
        match c { Colour::Red => Colour::Green, _ => Colour::Blue }
    }
    #[no_mangle] pub extern "C" fn each(f: extern "C" fn(i32, *mut c_void) -> i32, user: *mut c_void) -> i32 {
        f(1, user) + f(2, user)
    }
    #[no_mangle] pub extern "C" fn maybe(f: Option<extern "C" fn(i32) -> i32>) -> i32 { f.map_or(-1, |f| f(3)) }
    #[no_mangle] pub extern "C" fn length(s: *const c_char) -> usize { unsafe { CStr::from_ptr(s).to_bytes().len() } }
    #[no_mangle] pub extern "C" fn number(x: Option<i32>) -> i32 { x.unwrap_or(0) }
    #[no_mangle] pub static mut TOTAL: i64 = 7;
  ]]
  it("of a cdylib: structs, enums, callbacks, nullable function pointers, statics", function()
    if not has "rustc" then return pending "rustc is not installed" end
    local path = build("plugin.rs", source, "rustc --edition 2021 -g --crate-type cdylib -A warnings -o %s %s")
    local plugin = t.load(path, { watch = false })
    local api = plugin.api
    assert.are.equal(3, api.add(1, 2))
    local shifted = api.shift({ 1, 2.5 }, 3)
    assert.are.same({ 4, 2.5 }, { shifted.x, shifted.y })
    assert.are.equal(6.0, api.sum({ { 1, 2 }, { 3, 4 } }, 2))
    assert.are.equal(5, api.paint "Red")
    local user = hot.new("int", 10)
    assert.are.equal(23, api.each(function(x, who) return x + hot.cast("int *", who)[0] end, user))
    assert.are.same({ -1, 6 }, { api.maybe(nil), api.maybe(function(x) return x * 2 end) })
    assert.are.equal(5, api.length "hello")
    api.TOTAL = api.TOTAL + 1
    assert.are.equal(8, api.TOTAL)
    assert.error_matches(function() api.number(1) end, "cannot be called: .*a tagged union of another language")
    assert.matches("int maybe%(int %(%*f%)%(int%)%);", output_of("inspect " .. path))
    assert.is_function(load(output_of("stubs " .. path)))
  end)
end)

describe("a library of the system", function()
  local loader = hot.open "libm.so.6"
  local path = hot.symbolize(loader:symbol "cbrt").file
  loader:close()

  it("is inspected, and its stubs are Lua", function()
    assert.matches("[ \n]cbrt%(", output_of("inspect " .. path))
    local found = hot.inspect(path)
    assert.are.equal("libm.so.6", found.soname)
    assert.is_true(#found.functions > 500)
    assert.is_function(load(output_of("stubs " .. path)))
  end)

  it("is loaded with a cdef", function()
    local plugin = t.load(path, { watch = false, cdef = "double hypot(double, double); int abs_of(int);" })
    assert.are.equal(5.0, plugin.api.hypot(3, 4))
    assert.is_nil(plugin.api.abs_of)
  end)
end)
