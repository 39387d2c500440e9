-- Groups: all or none, at one instant.
local hot = require "hotlua"
local t = require "hotlua.test"

local function part(name, version, more)
  return ([[
    static int count;
    int %s_version(void) { return %d; }
    int %s_count(void) { return ++count; }
    %s
  ]]):format(name, version, name, more or "")
end

-- Puts a new version in the place of a plugin's file without loading it.
local function put(plugin, source)
  local path = plugin:info().path
  assert(os.execute(("cp %s %s.new && mv %s.new %s"):format(t.build(source), path, path, path)))
end

describe("a group", function()
  local a, b, group
  before_each(function()
    a, b = t.load(part("a", 1), { watch = false }), t.load(part("b", 1), { watch = false })
    group = hot.group { a, b }
  end)

  it("reloads all members, each with its state", function()
    a.api.a_count()
    b.api.b_count()
    put(a, part("a", 2))
    put(b, part("b", 2))
    local report = assert(group:reload())
    assert.is_true(report.ok)
    assert.are.equal(2, a.api.a_version())
    assert.are.equal(2, b.api.b_version())
    assert.are.equal(2, a.api.a_count())
    assert.are.equal(2, b.api.b_count())
  end)

  it("reloads none when one is refused", function()
    put(a, part("a", 2))
    put(b, "int b_version(void) { return missing_function(); }")
    local report, refusal = group:reload()
    assert.is_nil(report)
    assert.matches("missing_function", refusal.error)
    assert.are.equal("open", refusal.stage)
    assert.are.equal(1, a.api.a_version())
    assert.are.equal(1, b.api.b_version())
    assert.are.equal(1, a:info().generation)
  end)

  it("shows nobody the new a with the old b", function()
    put(a, part("a", 2))
    put(b, part("b", 2))
    local seen = {}
    for _, plugin in ipairs { a, b } do
      plugin:on("before_load", function() seen[#seen + 1] = a.api.a_version() + 10 * b.api.b_version() end)
      plugin:on("loaded", function() seen[#seen + 1] = a.api.a_version() + 10 * b.api.b_version() end)
    end
    assert(group:reload())
    assert.are.same({ 11, 11, 22, 22 }, seen)
  end)

  for _, stage in ipairs { "before_load", "carry", "migrate", "commit" } do
    it("is undone whole by a failure at " .. stage, function()
      put(a, part("a", 2))
      put(b, part("b", 2))
      t.fail_at(stage)
      local report = group:reload()
      assert.is_nil(report)
      assert.are.equal(1, a.api.a_version())
      assert.are.equal(1, b.api.b_version())
      assert(group:reload())
      assert.are.equal(2, a.api.a_version())
      assert.are.equal(2, b.api.b_version())
    end)
  end

  it("tells of the whole", function()
    local loaded, failed
    group:on("loaded", function(_, report) loaded = report end)
    group:on("failed", function(report) failed = report end)
    put(a, part("a", 2))
    assert(group:reload())
    assert.is_true(loaded.ok)
    put(b, "int nothing_else;int f(void) { return missing_function(); }")
    group:reload()
    assert.is_false(failed.ok)
  end)

  it("takes no plugin twice", function()
    assert.error_matches(function() hot.group { a } end, "is in a group already")
    local c = t.load(part("c", 1), { watch = false })
    assert.error_matches(function() hot.group { c, c } end, "in the list twice")
    hot.group { c }
  end)

  it("is made of a list of open plugins", function()
    for _, members in ipairs { {}, 7, "a" } do
      assert.error_matches(function() hot.group(members) end, "list of plugins expected")
    end
    assert.error_matches(function() hot.group() end, "list of plugins expected")
    assert.error_matches(function() hot.group { group } end, "plugin expected")
    local c = t.load(part("c", 1), { watch = false })
    c:close()
    assert.error_matches(function() hot.group { c } end, "is closed")
  end)

  it("goes on without a member that is closed", function()
    b:close()
    put(a, part("a", 2))
    assert(group:reload())
    assert.are.equal(2, a.api.a_version())
    a:close()
    assert.error_matches(function() group:reload() end, "closed")
  end)

  it("reloads when reload() of one member is called", function()
    put(a, part("a", 2))
    put(b, part("b", 2))
    local report = assert(a:reload())
    assert.are.equal(a.name, report.plugin)
    assert.are.equal(2, b.api.b_version())
    put(a, part("a", 3))
    put(b, "int b_version(void) { return missing_function(); }")
    local _, refusal = a:reload()
    assert.matches("missing_function", refusal.error)
    assert.are.equal(2, a.api.a_version())
  end)

  it("is not reloaded inside a reload of its own", function()
    local ok, message
    a:on("loaded", function() ok, message = pcall(group.reload, group) end)
    put(a, part("a", 2))
    assert(group:reload())
    assert.is_false(ok)
    assert.matches("inside a reload of the same plugin", message)
  end)
end)

describe("a watched group", function()
  it("makes one reload of the changes of several files", function()
    local a, b = t.load(part("a", 1)), t.load(part("b", 1))
    local group = hot.group { a, b }
    local loads = 0
    group:on("loaded", function() loads = loads + 1 end)
    put(a, part("a", 2))
    put(b, part("b", 2))
    t.await(function() return loads > 0 end)
    t.await(function() return a.api.a_version() == 2 and b.api.b_version() == 2 end)
    assert.are.equal(2, a:info().generation)
    assert.are.equal(2, b:info().generation)
  end)

  it("takes changes of those that are left when one is closed", function()
    local a, b = t.load(part("a", 1)), t.load(part("b", 1))
    hot.group { a, b }
    b:close()
    put(a, part("a", 2))
    t.await(function() return a.api.a_version() == 2 end)
  end)
end)

describe("a watched group that was refused", function()
  local a, b, seen
  before_each(function()
    seen = {}
    a = t.load(part("a", 1), { name = "a" })
    b = t.load(part("b", 1), { name = "b", migrate = function(new)
      if new.group.a.api.a_version() < 3 then error "a is too old" end
    end })
    local group = hot.group { a, b }
    group:on("failed", function(report) seen[#seen + 1] = report.stage end)
    group:on("loaded", function() seen[#seen + 1] = "loaded" end)
    put(a, part("a", 2))
    put(b, part("b", 2))
    t.await(function() return seen[1] end)
    assert.are.same({ "migrate" }, seen)
  end)

  it("is tried again when one member changes", function()
    put(a, part("a", 3))
    t.await(function() return seen[2] end)
    assert.are.same({ "migrate", "loaded" }, seen)
    assert.are.equal(3, a.api.a_version())
    assert.are.equal(2, b.api.b_version())
  end)

  it("is tried again when one member is as it was", function()
    put(a, part("a", 1))
    t.await(function() return seen[2] end)
    assert.are.same({ "migrate", "migrate" }, seen)
    assert.are.equal(1, b.api.b_version())
  end)

  it("is not tried again with the same contents", function()
    put(a, part("a", 2))
    hot.sleep(300)
    assert.are.same({ "migrate" }, seen)
    put(a, part("a", 3))
    t.await(function() return a.api.a_version() == 3 end)
    assert.are.same({ "migrate", "loaded" }, seen)
  end)
end)

describe("migrations of a group", function()
  it("come after all carries, in the order of the list, and see all images", function()
    local seen = {}
    local function migrate(new, old)
      for _, name in ipairs { "first", "second" } do
        local new_api, old_api = new.group[name].api, old.group[name].api
        seen[#seen + 1] = ("%s: %s %d %d, count %d"):format(new.plugin.name, name,
          new_api[name .. "_version"](), old_api[name .. "_version"](), new_api[name .. "_count"]())
      end
    end
    local first = t.load(part("first", 1), { name = "first", watch = false, migrate = migrate })
    local second = t.load(part("second", 1), { name = "second", watch = false, migrate = migrate })
    local group = hot.group { second, first }
    for _ = 1, 10 do first.api.first_count() end
    for _ = 1, 20 do second.api.second_count() end
    put(first, part("first", 2))
    put(second, part("second", 2))
    local report = assert(group:reload())
    assert.are.same({ "second", "first" }, report.plugins)
    assert.are.same({
      "second: first 2 1, count 11", "second: second 2 1, count 21",
      "first: first 2 1, count 12", "first: second 2 1, count 22",
    }, seen)
  end)
end)

-- A user that was linked with a library, both plugins.
describe("plugins that are linked with each other", function()
  local directory
  local function build_library(version, flags)
    return t.build(([[
      static int count;
      int part_version(void) { return %d; }
      int part_next(void) { return ++count; }
    ]]):format(version), flags)
  end

  local function build_user(version, library, flags)
    return t.build(([[
      int part_version(void);
      int part_next(void);
      static int calls;
      int version(void) { return %d; }
      int both(void) { calls++; return 10 * version() + part_version(); }
      int next(void) { return part_next(); }
      int calls_so_far(void) { return calls; }
    ]]):format(version), ("-L%s -lpart %s"):format(library:match("^(.*)/"), flags or ""))
  end

  local function install(built, name)
    local path = ("%s/%s"):format(directory, name)
    assert(os.execute(("cp %s %s.new && mv %s.new %s"):format(built, path, path, path)))
    return path
  end

  local function load(flags, options)
    directory = t.tmpdir()
    local function with(name)
      local copy = { name = name }
      for key, value in pairs(options or {}) do copy[key] = value end
      return copy
    end
    local path = install(build_library(1, flags), "libpart.so")
    local library = t.load(path, with "part")
    local user = t.load(install(build_user(1, path), "user.so"), with "user")
    return library, user
  end

  for what, flags in pairs { ["a SONAME"] = "-Wl,-soname,libpart.so", ["its file's name"] = "" } do
    it(("are loaded anew together, found by %s"):format(what), function()
      local library, user = load(flags, { watch = false, keep = 0 })
      assert.are.equal(11, user.api.both())
      assert.are.equal(1, user.api.next())
      assert.are.equal(2, library.api.part_next())
      install(build_library(2, flags), "libpart.so")
      local report = assert(library:reload())
      assert.are.equal("part", report.plugin)
      assert.are.equal(12, user.api.both())
      assert.are.equal(3, user.api.next())
      assert.are.equal(4, library.api.part_next())
      assert.are.equal(2, user:info().generation)
      assert.are.equal(2, user.api.calls_so_far())
      assert.unloaded(user, 1)
      assert.unloaded(library, 1)
    end)
  end

  for _, linker in ipairs { "bfd", "gold", "lld", "mold" } do
    if pcall(t.build, "int anything;", "-fuse-ld=" .. linker) then
      it("are loaded anew together as linked by " .. linker, function()
        local flags = "-fuse-ld=" .. linker
        local library, user = load(flags, { watch = false, keep = 0 })
        install(build_user(2, directory .. "/libpart.so", flags), "user.so")
        assert(user:reload())
        assert.are.equal(21, user.api.both())
        install(build_library(2, flags), "libpart.so")
        assert(library:reload())
        assert.are.equal(22, user.api.both())
        assert.are.equal(1, user.api.next())
        assert.are.equal(2, user.api.calls_so_far())
      end)
    end
  end

  it("do not wait for each other when only the user changes", function()
    local library, user = load("", { watch = false })
    install(build_user(2, directory .. "/libpart.so"), "user.so")
    assert(user:reload())
    assert.are.equal(21, user.api.both())
    assert.are.equal(1, library:info().generation)
  end)

  it("stay as they are when one is refused", function()
    local library, user = load("", { watch = false })
    install(t.build "int part_version(void) { return 2; }", "libpart.so")
    local report, refusal = library:reload()
    assert.is_nil(report)
    assert.matches("part_next", refusal.error)
    assert.are.equal(11, user.api.both())
    assert.are.equal(1, user.api.next())
    assert.are.equal(1, library:info().generation)
  end)

  it("are tried again when one changes after a refusal", function()
    local library, user = load("-Wl,-soname,libpart.so")
    local refused
    user:on("failed", function(report) refused = report end)
    install(t.build("int part_version(void) { return 2; }", "-Wl,-soname,libpart.so"), "libpart.so")
    t.await(function() return refused end)
    assert.matches("part_next", refused.error)
    install(build_library(3, "-Wl,-soname,libpart.so"), "libpart.so")
    t.await(function() return user.api.both() == 13 end)
    assert.are.equal(3, library.api.part_version())
  end)

  it("are one reload when their files change", function()
    local library, user = load("-Wl,-soname,libpart.so")
    local seen = {}
    for _, plugin in ipairs { library, user } do
      plugin:on("loaded", function() seen[#seen + 1] = user.api.both() end)
    end
    install(build_library(2, "-Wl,-soname,libpart.so"), "libpart.so")
    install(build_user(2, directory .. "/libpart.so"), "user.so")
    t.await(function() return user.api.both() == 22 end)
    t.await(function() return #seen == 2 end)
    assert.are.same({ 22, 22 }, seen)
    assert.are.equal(2, library:info().generation)
    assert.are.equal(2, user:info().generation)
  end)

  it("go back together", function()
    local library, user = load("", { watch = false })
    install(build_library(2, ""), "libpart.so")
    assert(library:reload())
    assert.are.equal(12, user.api.both())
    assert(library:rollback())
    assert.are.equal(11, user.api.both())
    assert.are.equal(1, user:info().generation)
  end)

  it("are unloaded when their users are", function()
    local library, user = load("", { watch = false })
    local gone = {}
    for _, plugin in ipairs { library, user } do
      plugin:on("unloaded", function() gone[#gone + 1] = plugin.name end)
    end
    library:close()
    assert.error_matches(library.api.part_version, "closed")
    assert.are.equal(11, user.api.both())
    user:close()
    t.await(function() return #gone == 2 end)
    assert.are.same({ "user", "part" }, gone)
  end)

  it("are loaded in any order of reloads, many times", function()
    local library, user = load("-Wl,-soname,libpart.so", { watch = false, keep = 0 })
    for n = 2, 30 do
      if n % 3 > 0 then install(build_library(n % 5 + 1, "-Wl,-soname,libpart.so"), "libpart.so") end
      if n % 2 > 0 then install(build_user(n % 7 + 1, directory .. "/libpart.so"), "user.so") end
      assert(library:reload())
      assert.are.equal(10 * user.api.version() + library.api.part_version(), user.api.both())
      assert.are.equal(n - 1, user.api.next())
    end
    t.await(function() return #library:info().images == 1 and #user:info().images == 1 end)
  end)
end)

describe("plugins that call each other through hot_symbol", function()
  it("are one reload when their files change together, and go alone otherwise", function()
    local b = t.load("int b_version(void) { return 1; }", { name = "b" })
    local source = [[
      #include <hotlua/plugin.h>
      int both(void)
      {
          static int (*version)(void);
          if (!version) version = (int (*)(void))hot_symbol("b", "b_version");
          return 10 * %d + version();
      }
    ]]
    local a = t.load(source:format(1), { name = "a" })
    assert.are.equal(11, a.api.both())
    local seen = {}
    for _, plugin in ipairs { a, b } do
      plugin:on("loaded", function() seen[#seen + 1] = a.api.both() end)
    end
    put(b, "int b_version(void) { return 2; }")
    put(a, source:format(2))
    t.await(function() return #seen == 2 end)
    assert.are.same({ 22, 22 }, seen)
    put(b, "int b_version(void) { return 3; }")
    t.await(function() return #seen == 3 end)
    assert.are.equal(23, seen[3])
    assert.are.equal(2, a:info().generation)
  end)
end)
