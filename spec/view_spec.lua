-- Views of a plugin's memory when its image goes, its layout changes, or the plugin is closed: they follow,
-- or raise an error that says why, and never read memory that was freed.
local hot = require "hotlua"
local t = require "hotlua.test"

local versions = {
  [[
    struct point { int x, y; };
    struct world { struct point here; int list[4]; const char *title; };
    struct world world = {{1, 2}, {3, 4, 5, 6}, "one"};
    static struct point inner = {7, 8};
    int generation(void) { return 1; }
    struct point *get_inner(void) { return &inner; }
    struct point copy(void) { return inner; }
    int (*get_function(void))(void) { return generation; }
    int *list(void) { return world.list; }
  ]],
  [[
    struct point { int x, y; };
    struct world { struct point here; int list[4]; const char *title; };
    int before = 1;
    struct world world = {{1, 2}, {3, 4, 5, 6}, "one"};
    static struct point inner = {7, 8};
    int generation(void) { return 2 + before * 0; }
    struct point *get_inner(void) { return &inner; }
    struct point copy(void) { return inner; }
    int (*get_function(void))(void) { return generation; }
    int *list(void) { return world.list; }
  ]],
  [[
    struct point { int x, z, y; };
    struct world { int version; struct point here; int list[6]; const char *title; };
    struct world world = {3, {1, 0, 2}, {3, 4, 5, 6, 7, 8}, "three"};
    static struct point inner = {7, 0, 8};
    int generation(void) { return 3; }
    struct point *get_inner(void) { return &inner; }
    struct point copy(void) { return inner; }
  ]],
  "int generation(void) { return 4; }",
}

local function refused(pattern, fn)
  local ok, message = pcall(fn)
  assert.is_false(ok, "no error: " .. pattern)
  assert.matches(pattern, message)
end

local function collect()
  collectgarbage()
  collectgarbage()
end

describe("a view of a variable", function()
  local plugin
  before_each(function() plugin = t.load(versions[1], { watch = false, keep = 0 }) end)

  it("follows the variable to the new image, inner ones too", function()
    local world, here, list = plugin.api.world, plugin.api.world.here, plugin.api.world.list
    here.x, list[3] = 10, 60
    local old = hot.address(world)
    assert(t.swap(plugin, versions[2]))
    assert.unloaded(plugin, 1)
    assert.are_not.equal(old, hot.address(world))
    assert.are.same({ 10, 10, 60 }, { world.here.x, here.x, list[3] })
    here.y, list[0] = 20, 30
    assert.are.same({ 20, 30 }, { plugin.api.world.here.y, plugin.api.world.list[0] })
    assert.is_true(world == plugin.api.world)
    assert.are.equal(30, plugin.api.list()[0])
  end)

  it("of another layout says so, and a new one is right", function()
    local world, here, list = plugin.api.world, plugin.api.world.here, plugin.api.world.list
    here.x = 10
    assert(t.swap(plugin, versions[3]))
    for _, fn in ipairs {
      function() return world.here end, function() return here.x end, function() here.x = 1 end,
      function() return list[1] end, function() list[1] = 1 end, function() return hot.string(list, 4) end,
      function() hot.copy(list, "1234") end, function() return hot.cast("int *", list) end,
      function() for _ in pairs(here) do error "read" end end, function() return tostring(here) end,
    } do
      refused("layout of variable 'world' changed in generation 2", fn)
    end
    assert.are.same({ 10, 2, 0 }, { plugin.api.world.here.x, plugin.api.world.here.y, plugin.api.world.here.z })
    assert.are.equal(8, plugin.api.world.list[5])
  end)

  it("that is gone says so", function()
    local world = plugin.api.world
    assert(t.swap(plugin, versions[4]))
    refused("variable 'world' is gone in generation 2 of plugin", function() return world.here end)
    refused("variable 'world' is gone", function() world.here = {} end)
    assert(t.swap(plugin, versions[1]))
    assert.are.equal(1, world.here.x)
  end)

  it("of a closed plugin says so", function()
    local world, here = plugin.api.world, plugin.api.world.here
    plugin:close()
    refused("variable 'world' is gone: plugin '.*' is closed", function() return world.here end)
    refused("variable 'world' is gone: plugin '.*' is closed", function() here.x = 1 end)
    refused("variable 'world' is gone", function() return tostring(world) end)
  end)
end)

describe("a pointer into an image", function()
  local plugin
  before_each(function() plugin = t.load(versions[1], { name = "seen", watch = false, keep = 0 }) end)

  local function all_uses(pointer)
    return {
      function() return pointer.x end, function() pointer.x = 1 end, function() return pointer[0] end,
      function() return hot.string(pointer, 4) end, function() hot.copy(pointer, "1234", 4) end,
      function() return hot.cast("int *", pointer) end, function() return hot.cast("intptr_t", pointer) end,
      function() for _ in pairs(pointer) do error "read" end end,
    }
  end

  it("raises once the image is unloaded", function()
    local inner = plugin.api.get_inner()
    assert.are.equal(7, inner.x)
    assert(t.swap(plugin, versions[2]))
    assert.unloaded(plugin, 1)
    for _, use in ipairs(all_uses(inner)) do
      refused("generation 1 of plugin 'seen', which has been unloaded", use)
    end
    refused("which has been unloaded", function() return tostring(inner) end)
    assert.are.equal(8, plugin.api.get_inner().y)
  end)

  it("raises after close, also views inside of it", function()
    local inner, element = plugin.api.get_inner(), hot.cast(plugin.types["struct point[1]"], plugin.api.get_inner())[0]
    assert.are.equal(7, element.x)
    plugin:close()
    for _, view in ipairs { inner, element } do
      refused("which has been unloaded", function() return view.x end)
      refused("which has been unloaded", function() view.x = 3 end)
    end
  end)

  it("is not taken by a function of the new image", function()
    local inner = plugin.api.get_inner()
    local other = t.load("struct point { int x, y; }; int get(const struct point *p) { return p->x; }", { watch = false })
    assert.are.equal(7, other.api.get(inner))
    assert(t.swap(plugin, versions[2]))
    assert.unloaded(plugin, 1)
    refused("which has been unloaded", function() return other.api.get(inner) end)
  end)

  it("to a function raises too", function()
    local fn = plugin.api.get_function()
    assert.are.equal(1, fn())
    assert(t.swap(plugin, versions[2]))
    assert.unloaded(plugin, 1)
    refused("unloaded", fn)
    assert.are.equal(2, plugin.api.get_function()())
  end)

  it("kept in an object, or in another plugin's variable, raises when it is followed", function()
    local holder = t.load("struct point { int x, y; }; struct point *kept;", { watch = false })
    local box = plugin.types["struct point *[1]"]()
    box[0] = plugin.api.get_inner()
    holder.api.kept = plugin.api.get_inner()
    assert.are.equal(7, holder.api.kept.x)
    local kept = holder.api.kept
    holder.api.kept = nil -- as long as that points into it, the image stays
    assert(t.swap(plugin, versions[2]))
    assert.unloaded(plugin, 1)
    refused("which has been unloaded", function() return kept.x end)
  end)

  it("raises where C or a copy of a struct held it all the time", function()
    local source = [[
      #include <stdlib.h>
      struct item { const char *text; int *number; int (*run)(void); void *any; };
      static int number = %d;
      static int run(void) { return number; }
      struct item make(void) { return (struct item){ "text", &number, run, &number }; }
      void fill(struct item *item) { *item = make(); }
      struct item *on_heap(void) { struct item *item = malloc(sizeof *item); *item = make(); return item; }
      void release(struct item *item) { free(item); }
    ]]
    local holder = t.load(source:format(1), { watch = false, keep = 0 })
    local given, filled, on_heap = holder.api.make(), holder.types.item(), holder.api.on_heap()
    holder.api.fill(filled)
    assert(t.swap(holder, source:format(2)))
    assert.unloaded(holder, 1)
    for _, item in ipairs { given, filled, on_heap } do
      refused("string belongs to generation 1 of plugin '.*', which has been unloaded", function() return item.text end)
      refused("belongs to generation 1 of plugin '.*', which has been unloaded", function() return item.number[0] end)
      refused("belongs to generation 1 of plugin '.*', which has been unloaded", function() return item.run() end)
      refused("belongs to generation 1 of plugin", function() return hot.cast("int *", item.any)[0] end)
      assert.matches("item.*number = 0x", tostring(item))
    end
    assert.are.equal(2, holder.api.make().run())
    holder.api.release(on_heap)
  end)
end)

-- Something else may lie by now where an image was.
local function is_mapped(address)
  for line in io.lines "/proc/self/maps" do
    local first, last = line:match "^(%x+)-(%x+)"
    if tonumber(first, 16) <= address and address < tonumber(last, 16) then return true end
  end
  return false
end

describe("a pointer that a callback is given", function()
  it("raises when it leads into an image that is gone, whatever was given before", function()
    local gone = t.load("int number = 7; int *where(void) { return &number; }", { watch = false, keep = 0 })
    local caller = t.load([[
      #include <stdlib.h>
      static int **kept, own = 5; /* on the heap: a variable that led into the image would hold it */
      void keep(unsigned long address) { if (!kept) kept = malloc(sizeof *kept); *kept = (int *)address; }
      void call(void (*f)(int *)) { int here = 6; f(&own); f(&here); f(*kept); }
    ]], { watch = false })
    local address, seen = hot.address(gone.api.where()), nil
    local function look(pointer)
      local ok, value = pcall(function() return pointer[0] end)
      seen[#seen + 1] = ok and value or value:match "which has been unloaded"
    end
    for _ = 1, 2 do -- what the first calls need is there when the image goes
      caller.api.keep(address)
      seen = {}
      caller.api.call(look)
      gone:close()
    end
    assert.are.same({ 5, 6 }, { seen[1], seen[2] })
    if not is_mapped(address) then assert.are.equal("which has been unloaded", seen[3]) end
  end)
end)

describe("owned objects", function()
  it("outlive the image and the plugin, with their types", function()
    local plugin = t.load(versions[1], { watch = false, keep = 0 })
    local point, made = plugin.api.copy(), plugin.types.point { 1, 2 }
    local array, type = plugin.types["struct point[2]"] { { 1, 2 }, { 3, 4 } }, plugin.types.point
    assert(t.swap(plugin, versions[3]))
    assert.unloaded(plugin, 1)
    collect()
    assert.are.same({ 7, 8, 1, 2, 4 }, { point.x, point.y, made.x, made.y, array[1].y })
    plugin:close()
    collect()
    point.x = 70
    assert.are.equal("struct point { x = 70, y = 8 }", tostring(point))
    assert.are.equal(5, type { 5 }.x)
  end)

  it("of an old layout are not taken for the new one", function()
    local source = "struct point { int %s; }; int get(struct point *p) { return p->y; } int by(struct point p) { return p.y; }"
    local plugin = t.load(source:format("x, y"), { watch = false, keep = 0 })
    local point = plugin.types.point { 1, 2 }
    assert.are.same({ 2, 2 }, { plugin.api.get(point), plugin.api.by(point) })
    assert(t.swap(plugin, source:format("x, z, y")))
    refused("bad argument #1 to 'get' %(", function() plugin.api.get(point) end)
    refused("bad argument #1 to 'by' %(struct point expected, got struct point of another layout%)",
      function() plugin.api.by(point) end)
    refused("struct point expected, got struct point of another layout", function() plugin.types.point(point) end)
    assert.are.equal(5, plugin.api.get(plugin.types.point { y = 5 }))
    assert(t.swap(plugin, source:format("x, y") .. "int more;"))
    assert.are.same({ 2, 2 }, { plugin.api.get(point), plugin.api.by(point) })
  end)
end)
