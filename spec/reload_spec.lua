-- The transaction: stages, events, reports, and that a refused reload changes nothing.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local v1 = [[
static int count;
int limit = 10;
int next_count(void) { return ++count; }
int version(void) { return 1; }
int gone_later(void) { return 7; }
]]

local v2 = [[
static int count;
int limit = 10;
int next_count(void) { count += 10; return count; }
int version(void) { return 2; }
double added(double x) { return x * 2; }
]]

describe("a reload", function()
  it("brings the new code to functions held since before, and keeps the state", function()
    local plugin = t.load(v1)
    local next_count, version = plugin.api.next_count, plugin.api.version
    next_count()
    next_count()
    plugin.api.limit = 99
    local report = assert(t.swap(plugin, v2))
    assert.are.equal(2, version())
    assert.are.equal(12, next_count())
    assert.are.equal(99, plugin.api.limit)
    assert.is_true(report.ok)
    assert.are.equal(1, report.from)
    assert.are.equal(2, report.generation)
    assert.are.equal(2, plugin:info().generation)
  end)

  it("reports added, removed and changed exports, and the time of every stage", function()
    local plugin = t.load(v1)
    local report = assert(t.swap(plugin, v2 .. "long gone_later(int x) { return x; }"))
    assert.are.same({ "added" }, report.added)
    assert.are.same({}, report.removed)
    assert.are.same({ "gone_later" }, report.changed)
    for _, stage in ipairs { "copy", "verify", "open", "bind", "before_load", "carry", "migrate", "commit" } do
      assert.is_number(report.us[stage], stage)
    end
    assert.is_true(report.pause_us > 0 and report.pause_us <= report.total_us)
    assert.matches("generation 2", tostring(report))
    assert.are.equal(report, plugin:info().last)
  end)

  it("raises in a call whose export has gone, with the generation in which it went", function()
    local plugin = t.load(v1)
    local held = plugin.api.gone_later
    assert.are.equal(7, held())
    assert(t.swap(plugin, v2))
    assert.error_matches(function() held() end, "gone_later.*generation 2")
    assert(t.swap(plugin, v1))
    assert.are.equal(7, held())
  end)

  it("takes the new signature of a function held since before", function()
    local plugin = t.load("int scale(int x) { return x * 2; }")
    local scale = plugin.api.scale
    assert.are.equal(6, scale(3))
    assert(t.swap(plugin, "double scale(double x, double y) { return x * y; }"))
    assert.are.equal(3.75, scale(1.5, 2.5))
    assert.error_matches(function() scale(1) end, "bad argument #2 to 'scale'")
  end)

  it("says that nothing changed when the content is the live image's", function()
    local plugin = t.load(v1)
    local report = assert(plugin:reload())
    assert.is_true(report.ok)
    assert.is_true(report.unchanged)
    assert.are.equal(1, plugin:info().generation)
  end)

  it("uses no generation for a refused image", function()
    local plugin = t.load(v1)
    t.fail_at("migrate")
    assert.is_nil((t.swap(plugin, v2)))
    local report = assert(plugin:reload())
    assert.are.equal(2, report.generation)
    assert.are.equal(1, plugin:info().failures)
  end)
end)

describe("a failure at a stage", function()
  for _, stage in ipairs { "detect", "settle", "copy", "verify", "probe", "open", "bind", "before_load",
    "carry", "migrate", "commit" } do
    it("leaves everything as it was: " .. stage, function()
      local failed
      local plugin = t.load(v1, { on = { failed = function(report) failed = report end } })
      plugin.api.next_count()
      plugin.api.limit = 5
      local before = plugin:dump()
      t.fail_at(stage)
      local none, report = t.swap(plugin, v2)
      assert.is_nil(none)
      assert.is_false(report.ok)
      assert.are.equal(stage, report.stage)
      assert.matches("injected", report.error)
      assert.are.equal(report, failed)
      assert.are.equal(1, plugin.api.version())
      assert.are.same(before, plugin:dump())
      assert.are.equal(2, plugin.api.next_count())
      assert.are.equal(2, assert(plugin:reload()).generation)
    end)
  end
end)

describe("events", function()
  it("come in order, with both images callable in before_load and migrate", function()
    local seen = {}
    local function note(name)
      return function(...) seen[#seen + 1] = { name, ... } end
    end
    local plugin = t.load(v1, {
      keep = 0,
      migrate = function(new, old)
        seen[#seen + 1] = { "migrate", new.api.version(), old.api.version() }
        new.api.limit = old.api.limit + 1
      end,
      on = {
        before_load = function(new, old)
          seen[#seen + 1] = { "before_load", new.api.version(), old and old.api.version() }
        end,
        loaded = note "loaded", before_unload = note "before_unload", unloaded = note "unloaded",
      },
    })
    assert.are.same({ "before_load", 1 }, seen[1])
    assert.are.equal("loaded", seen[2][1])
    seen = {}
    assert(t.swap(plugin, v2))
    t.await(function() return #seen >= 5 end, 2000)
    assert.are.same({ "before_load", 2, 1 }, seen[1])
    assert.are.same({ "migrate", 2, 1 }, seen[2])
    assert.are.equal("loaded", seen[3][1])
    assert.are.equal(plugin, seen[3][2])
    assert.are.equal(2, seen[3][3].generation)
    assert.are.equal("before_unload", seen[4][1])
    assert.are.equal(1, seen[4][2].generation)
    assert.are.same({ "unloaded", 1 }, seen[5])
    assert.are.equal(11, plugin.api.limit)
  end)

  it("are cancelled by new:cancel, with the reason in the report", function()
    local plugin = t.load(v1, { on = { before_load = function(new, old)
      if old then new:cancel("not on a Friday") end
    end } })
    local _, report = t.swap(plugin, v2)
    assert.are.equal("before_load", report.stage)
    assert.matches("not on a Friday", report.error)
    assert.are.equal(1, plugin.api.version())
  end)

  it("refuse the reload when a handler raises before the commit", function()
    local plugin = t.load(v1)
    local subscription = plugin:on("before_load", function() error("handler broke") end)
    local _, report = t.swap(plugin, v2)
    assert.matches("handler broke", report.error)
    assert.are.equal(1, plugin.api.version())
    subscription:off()
    assert(plugin:reload())
    assert.are.equal(2, plugin.api.version())
  end)

  it("undo everything when migrate raises", function()
    local plugin = t.load(v1, { migrate = function(_, old)
      old.api.version()
      error("cannot migrate")
    end })
    plugin.api.next_count()
    local before = plugin:dump()
    local _, report = t.swap(plugin, v2)
    assert.are.equal("migrate", report.stage)
    assert.matches("cannot migrate", report.error)
    assert.are.same(before, plugin:dump())
  end)

  it("run handlers in the order in which they were added, and refuse unknown names", function()
    local plugin = t.load(v1)
    local order = {}
    for i = 1, 3 do plugin:on("loaded", function() order[#order + 1] = i end) end
    assert(t.swap(plugin, v2))
    assert.are.same({ 1, 2, 3 }, order)
    assert.error_matches(function() plugin:on("laoded", print) end, "no event 'laoded'")
  end)
end)

describe("expect", function()
  it("refuses an image that lacks a name or has it with another type", function()
    local plugin = t.load(v1, { expect = { "version", next_count = "int next_count(void)" } })
    local _, report = t.swap(plugin, "int version(void) { return 3; }")
    assert.are.equal("bind", report.stage)
    assert.matches("next_count", report.error)
    _, report = t.swap(plugin, "int version(void) { return 3; } double next_count(void) { return 1; }")
    assert.matches("wanted int next_count", report.error)
    assert.are.equal(1, plugin.api.version())
    assert(t.swap(plugin, v2))
  end)
end)

describe("the retired image", function()
  local calls_back = [[
    int version(void) { return %d; }
    int enter(int (*inside)(void)) { return inside() * 10 + %d; }
  ]]

  it("stays while a call is suspended in a callback, and goes then", function()
    local gone
    local plugin = t.load(calls_back:format(1, 1), { keep = 0, on = {
      unloaded = function(generation) gone = generation end,
    } })
    local result = plugin.api.enter(function()
      assert(t.swap(plugin, calls_back:format(2, 2)))
      assert.are.equal(2, plugin.api.version())
      local images = plugin:info().images
      assert.are.equal("retiring", images[1].state)
      return 4
    end)
    assert.are.equal(41, result)
    t.await(function() return gone end, 2000)
    assert.are.equal(1, gone)
    assert.unloaded(plugin, 1)
  end)

  it("is kept by old:cancel until old:release", function()
    local kept, gone
    local plugin = t.load(v1, { keep = 0, on = {
      before_unload = function(old)
        if not kept then
          kept = old
          old:cancel("still needed")
        end
      end,
      unloaded = function(generation) gone = generation end,
    } })
    assert(t.swap(plugin, v2))
    t.await(function() return kept end, 2000)
    assert.are.equal("held", plugin:info().images[1].state)
    assert.matches("still needed", plugin:info().images[1].why)
    assert.are.equal(1, kept.api.version())
    kept:release()
    t.await(function() return gone end, 2000)
    assert.are.equal(1, gone)
    assert.error_matches(function() kept.api.version() end, "unloaded")
  end)

  it("goes after old:release, whose handler is not asked again", function()
    local kept, asked, gone = nil, 0, nil
    local plugin = t.load(v1, { keep = 0, on = {
      before_unload = function(old)
        kept = kept or old
        asked = asked + 1
        old:cancel()
      end,
      unloaded = function(generation) gone = generation end,
    } })
    assert(t.swap(plugin, v2))
    t.await(function() return kept end, 2000)
    assert.are.equal(1, kept.api.version())
    kept:release()
    t.await(function() return gone end, 2000)
    assert.are.same({ 1, 1 }, { gone, asked })
    assert.unloaded(plugin, 1)
  end)

  it("is kept for rollback, which brings code and state back", function()
    local events = {}
    local plugin = t.load(v1, { on = { rolled_back = function(report) events[#events + 1] = report end } })
    plugin.api.next_count()
    assert(t.swap(plugin, v2))
    assert.are.equal(11, plugin.api.next_count())
    assert.are.equal("kept", plugin:info().images[1].state)
    local report = assert(plugin:rollback())
    assert.are.equal(1, report.generation)
    assert.are.equal(2, report.from)
    assert.are.equal(report, events[1])
    assert.are.equal(1, plugin.api.version())
    assert.are.equal(12, plugin.api.next_count())
    local none, refused = plugin:rollback()
    assert.is_nil(none)
    assert.matches("no older generation", refused.error)
    assert.are.equal(3, assert(t.swap(plugin, v2 .. "int more;")).generation)
  end)

  it("says why it cannot be unloaded", function()
    local why
    local plugin = t.load(t.build(v1, "-Wl,-z,nodelete"), { keep = 0, on = {
      unloaded = function(_, reason) why = reason end,
    } })
    assert(t.swap(plugin, v2))
    t.await(function() return why end, 2000)
    assert.matches("nodelete", why)
    assert.are.equal("held", plugin:info().images[1].state)
  end)
end)

describe("close", function()
  it("unloads the plugin, and later calls raise", function()
    local order = {}
    local plugin = t.load(v1, { on = {
      before_unload = function(old) order[#order + 1] = "before " .. old.generation end,
      unloaded = function(generation) order[#order + 1] = "unloaded " .. generation end,
    } })
    local version = plugin.api.version
    assert.are.equal(plugin, hot.get(plugin.name))
    plugin:close()
    assert.are.same({ "before 1", "unloaded 1" }, order)
    assert.error_matches(function() version() end, "closed")
    assert.error_matches(function() plugin:reload() end, "closed")
    assert.is_nil(hot.get(plugin.name))
    plugin:close()
  end)

  it("lets go of everything when a change of the file is on its way", function()
    local path = t.tmpdir() .. "/plugin.so"
    assert(uv.fs_copyfile(t.build(v1), path))
    local gone = setmetatable({}, { __mode = "v" })
    do
      local plugin = hot.load(path, { name = "closed early" })
      assert(uv.fs_copyfile(t.build(v2), path .. ".next"))
      assert(os.rename(path .. ".next", path))
      assert(plugin:reload())
      gone[1] = plugin
      plugin:close()
    end
    hot.sleep(150) -- past the second look that a change is followed by
    collectgarbage()
    collectgarbage()
    assert.is_nil(gone[1])
  end)
end)

describe("hot.load", function()
  it("names a wrong option and a wrong value", function()
    local path = t.build(v1)
    assert.error_matches(function() hot.load(path, { wacth = true }) end, "no option 'wacth'")
    assert.error_matches(function() hot.load(path, { keep = -1 }) end, "option 'keep'")
    assert.error_matches(function() hot.load(path, { carry = "some" }) end, "option 'carry'")
    assert.error_matches(function() hot.load(42) end, "bad argument #1 to 'load'")
  end)

  it("takes the plugin's name from its file, and refuses a second of that name", function()
    local dir = t.tmpdir()
    local path = dir .. "/libthing.so"
    local file <close> = assert(io.open(t.build(v1), "rb"))
    t.write(path, file:read("a"))
    local plugin = t.load(path)
    assert.are.equal("thing", plugin:info().name)
    assert.error_matches(function() hot.load(path) end, "thing")
  end)
end)

describe("handlers of events", function()
  it("that are off are not called, also when that was in the same event", function()
    local plugin, second, seen = t.load("int f(void) { return 1; }"), nil, {}
    plugin:on("loaded", function()
      second:off()
      seen[#seen + 1] = "first"
    end)
    second = plugin:on("loaded", function() seen[#seen + 1] = "second" end)
    assert(t.swap(plugin, "int f(void) { return 2; }"))
    assert.are.same({ "first" }, seen)
  end)
end)

describe("the list of images", function()
  it("has only those that are there", function()
    local plugin = t.load("int f(void) { return 0; }", { keep = 0 })
    for i = 1, 5 do
      assert(t.swap(plugin, ("int f(void) { return %d; }"):format(i)))
      for _ = 1, 30 do
        for _, image in ipairs(plugin:info().images) do assert.are_not.equal("gone", image.state) end
      end
    end
  end)
end)

describe("a report of a refusal", function()
  it("is one line also with a traceback in it", function()
    local plugin = t.load("int f(void) { return 0; }", { migrate = function() error "boom" end })
    local _, report = t.swap(plugin, "int f(void) { return 1; }")
    assert.matches("boom", tostring(report))
    assert.is_nil(tostring(report):find("\n", 1, true))
  end)
end)
