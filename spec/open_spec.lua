-- The bare loader, the program itself, and addresses turned to names and lines.
local hot = require "hotlua"
local t = require "hotlua.test"

local function refused(pattern, fn, ...)
  local arguments = table.pack(...)
  local ok, message = pcall(fn, table.unpack(arguments, 1, arguments.n))
  assert.is_false(ok, "no error: " .. pattern)
  assert.matches(pattern, message)
end

describe("hot.open", function()
  it("finds symbols of a library of the system", function()
    local lib = hot.open "libm.so.6"
    local address = lib:symbol "cbrt"
    assert.are.equal("integer", math.type(address))
    assert.are.equal(2.0, hot.cast("double (*)(double)", address)(8))
    assert.is_nil(lib:symbol "no_such_symbol")
    lib:close()
    refused("closed", lib.symbol, lib, "cbrt")
    lib:close()
  end)

  it("opens a file as it is, and its variables are reached by address", function()
    local path = t.build("int count = 5; int tick(void) { return ++count; }", "-g0")
    local lib <close> = hot.open(path)
    local tick = hot.cast("int (*)(void)", lib:symbol "tick")
    assert.are.equal(6, tick())
    local count = hot.cast("int *", lib:symbol "count")
    count[0] = 10
    assert.are.equal(11, tick())
  end)

  it("says what is wrong with a file", function()
    refused("nowhere.so", hot.open, "/nowhere.so")
    local path = t.write(t.tmpdir() .. "/text.so", "no library")
    refused("text.so", hot.open, path)
    refused("bad argument #1 to 'open' %(string expected, got no value%)", hot.open)
    refused("bad argument #1 to 'open' %(string expected, got number%)", hot.open, 5)
  end)
end)

describe("hot.self", function()
  it("is the program's own exported symbols", function()
    local self = hot.self()
    assert.is_function(self.api.lua_gettop)
    assert.is_nil(self.api.no_such_function)
    local names = {}
    for _, export in ipairs(self:exports()) do names[export.name] = export end
    assert.are.equal("function", names.lua_newstate.kind)
    assert.are.equal("function", names.hot_host_symbol.kind)
  end)

  it("calls those whose type is known", function()
    local api = hot.self().api
    assert.is_nil(api.hot_host_symbol("no such plugin", "f"))
    local plugin = t.load("int f(void) { return 7; }", { name = "asked", watch = false })
    assert.are.equal(7, hot.cast("int (*)(void)", api.hot_host_symbol("asked", "f"))())
    assert(t.swap(plugin, "int f(void) { return 8; }"))
    assert.are.equal(8, hot.cast("int (*)(void)", api.hot_host_symbol("asked", "f"))())
    refused("'lua_newstate' has no known signature", function() return api.lua_newstate end)
  end)
end)

describe("hot.symbolize", function()
  local source = table.concat({
    "static int hidden(int x)", -- line 1
    "{",
    "    return x * 2;",
    "}",
    "int table[4]; static long quiet[3];",
    "int shown(int x)",
    "{",
    "    return hidden(x) + 1;", -- line 8
    "}",
    "void *hidden_address(void) { return (void *)hidden; }",
    "long *quiet_address(void) { return &quiet[1]; }",
  }, "\n")

  it("names plugin, generation, symbol, file and line", function()
    local path = t.write(t.tmpdir() .. "/shown.c", source)
    local plugin = t.load(t.build(path, "-O0"), { name = "shown", watch = false })
    local place = hot.symbolize(plugin.api.shown)
    assert.are.same({ "shown", 0, "shown", 1, 7 },
      { place.symbol, place.offset, place.plugin, place.generation, place.line })
    assert.matches("shown%.c$", place.source)
    assert.matches("%.so", place.file)
    local hidden = hot.symbolize(plugin.api.hidden_address())
    assert.are.equal("hidden", hidden.symbol)
    assert.are.equal(2, hidden.line)
    local inside = hot.symbolize(hot.address(plugin.api.hidden_address()) + 4)
    assert.are.same({ "hidden", 4 }, { inside.symbol, inside.offset })
    local variable = hot.symbolize(plugin.api.table)
    assert.are.same({ "table", 0, "shown" }, { variable.symbol, variable.offset, variable.plugin })
    local element = hot.symbolize(hot.address(plugin.api.table) + 8)
    assert.are.same({ "table", 8 }, { element.symbol, element.offset })
    local static = hot.symbolize(plugin.api.quiet_address())
    assert.are.same({ "quiet", 8 }, { static.symbol, static.offset })
  end)

  it("tells the images of a plugin apart", function()
    local plugin = t.load(source, { name = "shown", watch = false, keep = 1 })
    local old = hot.address(plugin.api.hidden_address())
    assert(t.swap(plugin, "int more;\n" .. source))
    assert.are.equal(1, hot.symbolize(old).generation)
    assert.are.equal(2, hot.symbolize(plugin.api.hidden_address()).generation)
    plugin:close()
    assert.is_nil((hot.symbolize(old) or {}).plugin)
  end)

  it("knows libraries and the program, without plugin or line", function()
    local lib <close> = hot.open "libm.so.6"
    local place = hot.symbolize(lib:symbol "cbrt")
    assert.matches("libm", place.file)
    assert.matches("^cbrt", place.symbol)
    assert.is_nil(place.plugin)
    local own = hot.symbolize(hot.self().api.lua_gettop)
    assert.are.equal("lua_gettop", own.symbol)
  end)

  it("is nil for what is no code or data of a file", function()
    assert.is_nil(hot.symbolize(0))
    assert.is_nil(hot.symbolize(64))
    assert.is_nil(hot.symbolize(hot.new "int"))
    refused("C object expected, got boolean", hot.symbolize, true)
  end)
end)
