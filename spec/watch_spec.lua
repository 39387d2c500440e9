-- The watcher: every way in which a new version comes to the watched path is one reload, and nothing
-- else is.
local core = require "hotlua.core"
local t = require "hotlua.test"
local uv = require "luv"

local function source(number)
  return ("static int calls;\nint call(void) { return ++calls; }\nint version(void) { return %d; }\n"):format(number)
end

local function run(...)
  local command = (...):format(select(2, ...))
  assert(os.execute(command), command)
end

local function copy(from, to)
  run("cp '%s' '%s'", from, to)
end

-- A plugin of version 1 at the path; its table of failed reports is the second result.
local function start(path, options)
  local failures = {}
  options = options or {}
  options.on = options.on or {}
  options.on.failed = function(report) failures[#failures + 1] = tostring(report) end
  local plugin = t.load(path, options)
  assert.are.equal(1, plugin.api.version())
  return plugin, failures
end

local function await_version(plugin, number, failures)
  t.await(function() return plugin.api.version() == number end)
  if failures then assert.are.same({}, failures) end
end

-- A change that is no change has been looked at when a later one that is has come.
local function nothing_came(plugin, path, before)
  copy(t.build(source(77)), path .. ".next")
  assert(os.rename(path .. ".next", path))
  await_version(plugin, 77)
  assert.are.equal(before + 1, plugin:info().generation)
end

-- A fresh folder with a plugin of version 1 in it.
local function place()
  local directory = t.tmpdir()
  local path = directory .. "/plugin.so"
  copy(t.build(source(1)), path)
  return path, directory
end

describe("a new version is seen when it is", function()
  local function case(how, change)
    it(how, function()
      local path, directory = place()
      local plugin, failures = start(path)
      plugin.api.call()
      change(path, t.build(source(2)), directory)
      await_version(plugin, 2, failures)
      assert.are.equal(2, plugin:info().generation)
      assert.are.equal(2, plugin.api.call())
    end)
  end

  case("copied with cp", function(path, new) run("cp '%s' '%s'", new, path) end)
  case("copied with cp -p", function(path, new) run("cp -p '%s' '%s'", new, path) end)
  case("copied with cp --remove-destination", function(path, new)
    run("cp --remove-destination '%s' '%s'", new, path)
  end)
  case("put there with install", function(path, new) run("install -m 755 '%s' '%s'", new, path) end)
  case("moved there", function(path, new, directory)
    copy(new, directory .. "/other")
    run("mv '%s/other' '%s'", directory, path)
  end)
  case("moved there from another file system", function(path, new)
    local from = ("/dev/shm/watch-spec-%d.so"):format(uv.os_getpid())
    copy(new, from)
    run("mv '%s' '%s'", from, path)
  end)
  case("linked there", function(path, new, directory)
    copy(new, directory .. "/other")
    run("rm '%s' && ln '%s/other' '%s'", path, directory, path)
  end)
  case("written after the old one was deleted", function(path, new)
    assert(os.remove(path))
    run("cat '%s' > '%s'", new, path)
  end)
  case("saved by an editor that renames the old one away", function(path, new, directory)
    copy(new, directory .. "/.plugin.so.swp")
    assert(os.rename(path, path .. "~"))
    assert(os.rename(directory .. "/.plugin.so.swp", path))
    assert(os.remove(path .. "~"))
  end)
  case("written in two parts with a pause between", function(path, new)
    run("{ head -c 5000 '%s'; sleep 0.1; tail -c +5001 '%s'; } > '%s'", new, new, path)
  end)
  case("written by two writers, one after the other", function(path, new)
    run("head -c 5000 '%s' > '%s'; tail -c +5001 '%s' >> '%s'", new, path, new, path)
  end)
end)

describe("a new version is seen when it is linked onto the path by", function()
  for _, compiler in ipairs { "gcc", "clang" } do
    for _, linker in ipairs { "bfd", "gold", "lld", "mold" } do
      it(compiler .. " with " .. linker, function()
        local path, directory = place()
        local plugin, failures = start(path)
        local link = compiler .. " -shared -fPIC -g -fuse-ld=" .. linker
        for number = 2, 4 do
          t.write(directory .. "/plugin.c", source(number))
          run("%s -o '%s' '%s/plugin.c'", link, path, directory)
          await_version(plugin, number, failures)
        end
        assert.are.equal(4, plugin:info().generation)
      end)
    end
  end

  it("a linker that is still writing when the file already has its name and size", function()
    local path, directory = place()
    local plugin = start(path)
    local new = t.build(source(2))
    local size = assert(uv.fs_stat(new)).size
    run("rm '%s'; { truncate -s %d '%s'; sleep 0.05; cat '%s' 1<>'%s'; } # %s", path, size, path, new, path,
      directory)
    await_version(plugin, 2)
  end)
end)

describe("symbolic links:", function()
  it("one of the file is re-pointed", function()
    local directory = t.tmpdir()
    copy(t.build(source(1)), directory .. "/one.so")
    copy(t.build(source(2)), directory .. "/two.so")
    run("ln -s one.so '%s/plugin.so'", directory)
    local plugin, failures = start(directory .. "/plugin.so")
    run("ln -s two.so '%s/next' && mv -T '%s/next' '%s/plugin.so'", directory, directory, directory)
    await_version(plugin, 2, failures)
    copy(t.build(source(3)), directory .. "/two.so")
    await_version(plugin, 3, failures)
    run("ln -sfn one.so '%s/plugin.so'", directory)
    await_version(plugin, 1, failures)
  end)

  it("one of the directory is re-pointed, as deployments do it", function()
    local directory = t.tmpdir()
    for number = 1, 3 do
      run("mkdir '%s/release-%d'", directory, number)
      copy(t.build(source(number)), ("%s/release-%d/plugin.so"):format(directory, number))
    end
    run("ln -s release-1 '%s/current'", directory)
    local plugin, failures = start(directory .. "/current/plugin.so")
    for number = 2, 3 do
      run("ln -s release-%d '%s/next' && mv -T '%s/next' '%s/current'", number, directory, directory, directory)
      await_version(plugin, number, failures)
    end
    run("rm '%s/current'; ln -s release-1 '%s/current'", directory, directory)
    await_version(plugin, 1, failures)
    copy(t.build(source(9)), directory .. "/release-1/plugin.so")
    await_version(plugin, 9, failures)
  end)

  it("a chain of them, over two directories", function()
    local directory = t.tmpdir()
    run("mkdir '%s/store' '%s/a' '%s/b'", directory, directory, directory)
    copy(t.build(source(1)), directory .. "/store/one.so")
    copy(t.build(source(2)), directory .. "/store/two.so")
    run("ln -s ../store/one.so '%s/b/link.so'; ln -s '%s/b/link.so' '%s/a/plugin.so'", directory, directory,
      directory)
    local plugin, failures = start(directory .. "/a/plugin.so")
    run("ln -s ../store/two.so '%s/b/next' && mv -T '%s/b/next' '%s/b/link.so'", directory, directory, directory)
    await_version(plugin, 2, failures)
    copy(t.build(source(3)), directory .. "/store/two.so")
    await_version(plugin, 3, failures)
  end)

  it("a link takes the place of a file, and a file that of a link", function()
    local path, directory = place()
    copy(t.build(source(2)), directory .. "/two.so")
    local plugin, failures = start(path)
    run("ln -sf two.so '%s'", path)
    await_version(plugin, 2, failures)
    copy(t.build(source(3)), directory .. "/three.so")
    assert(os.rename(directory .. "/three.so", path))
    await_version(plugin, 3, failures)
  end)
end)

describe("a path that is not there", function()
  it("keeps the live image while the file is gone, and loads it when it comes back", function()
    local path = place()
    local plugin, failures = start(path)
    local seen = {}
    local watch <close> = assert(core.watch_file(path, function(kind) seen[#seen + 1] = kind end))
    assert.is_userdata(watch)
    assert(os.remove(path))
    t.await(function() return #seen > 0 end)
    assert.are.same({ "deleted" }, seen)
    assert.are.equal(1, plugin.api.version())
    copy(t.build(source(2)), path)
    await_version(plugin, 2, failures)
  end)

  it("is watched also when its directory is deleted and made again", function()
    local directory = t.tmpdir() .. "/deep"
    local path = directory .. "/er/plugin.so"
    run("mkdir -p '%s/er'", directory)
    copy(t.build(source(1)), path)
    local plugin, failures = start(path)
    run("rm -r '%s'", directory)
    run("mkdir -p '%s/er'", directory)
    copy(t.build(source(2)), path)
    await_version(plugin, 2, failures)
    run("mv '%s' '%s.old'; mkdir -p '%s/er'", directory, directory, directory)
    copy(t.build(source(3)), path)
    await_version(plugin, 3, failures)
  end)

  it("is seen when its directory is put there whole", function()
    local parent = t.tmpdir()
    run("mkdir '%s/now' '%s/next'", parent, parent)
    copy(t.build(source(1)), parent .. "/now/plugin.so")
    copy(t.build(source(2)), parent .. "/next/plugin.so")
    local plugin, failures = start(parent .. "/now/plugin.so")
    run("mv '%s/now' '%s/old' && mv '%s/next' '%s/now'", parent, parent, parent, parent)
    await_version(plugin, 2, failures)
  end)

  it("a relative one stays where it was when the program goes elsewhere", function()
    local _, directory = place()
    local before = assert(uv.cwd())
    assert(uv.chdir(directory))
    local ok, message = pcall(function()
      local plugin, failures = start("./plugin.so")
      assert(uv.chdir(before))
      copy(t.build(source(2)), directory .. "/plugin.so")
      await_version(plugin, 2, failures)
    end)
    assert(uv.chdir(before))
    assert(ok, message)
  end)
end)

describe("builds that follow each other quickly", function()
  it("are both seen within one second, in the same size", function()
    local path = place()
    local plugin, failures = start(path)
    for number = 2, 9 do
      copy(t.build(source(number)), path)
      await_version(plugin, number, failures)
    end
    assert.are.equal(9, plugin:info().generation)
  end)

  it("end with the last one, whatever is left out between", function()
    local path, directory = place()
    local plugin = start(path)
    for number = 2, 30 do
      copy(t.build(source(number % 2 + 2)), directory .. "/next")
      assert(os.rename(directory .. "/next", path))
    end
    copy(t.build(source(50)), path)
    await_version(plugin, 50)
    nothing_came(plugin, path, plugin:info().generation)
  end)
end)

describe("no reload comes of", function()
  local function case(what, change)
    it(what, function()
      local path, directory = place()
      local plugin, failures = start(path)
      change(path, directory)
      nothing_came(plugin, path, 1)
      assert.are.same({}, failures)
    end)
  end

  case("equal content", function(path) copy(t.build(source(1)), path) end)
  case("equal content moved there", function(path, directory)
    copy(t.build(source(1)), directory .. "/other")
    assert(os.rename(directory .. "/other", path))
  end)
  case("a touch", function(path) run("touch '%s'", path) end)
  case("a change of permissions", function(path) run("chmod 700 '%s'", path) end)
  case("reading", function(path) run("cat '%s' > /dev/null", path) end)
  case("another file in the directory", function(_, directory)
    copy(t.build(source(5)), directory .. "/plugin.so.bak")
    copy(t.build(source(5)), directory .. "/lugin.so")
  end)
  case("a file of the same name in a directory below", function(_, directory)
    run("mkdir '%s/below'", directory)
    copy(t.build(source(5)), directory .. "/below/plugin.so")
  end)
end)

describe("watch = false", function()
  it("leaves the change to plugin:reload()", function()
    local path, directory = place()
    local plugin = start(path, { watch = false })
    local other_path = directory .. "/other.so"
    copy(t.build(source(1)), other_path)
    local other = start(other_path)
    copy(t.build(source(2)), path)
    copy(t.build(source(2)), other_path)
    await_version(other, 2)
    assert.are.equal(1, plugin.api.version())
    assert(plugin:reload())
    assert.are.equal(2, plugin.api.version())
  end)
end)

describe("a watched directory", function()
  it("names the entries that came, changed and went", function()
    local _, directory = place()
    local seen = {}
    local watch <close> = assert(core.watch_directory(directory, function(kind, when_ns, name)
      assert.is_true(when_ns > 0)
      seen[#seen + 1] = kind .. " " .. tostring(name)
    end))
    assert.is_userdata(watch)
    copy(t.build(source(2)), directory .. "/b.so")
    t.await(function() return seen[1] == "changed b.so" end)
    assert(os.rename(directory .. "/b.so", directory .. "/c.so"))
    t.await(function() return #seen >= 3 end)
    table.sort(seen)
    assert.are.same({ "changed b.so", "changed c.so", "deleted b.so" }, seen)
  end)

  it("tells nothing after it was stopped", function()
    local _, directory = place()
    local count, later = 0, {}
    local watch = assert(core.watch_directory(directory, function() count = count + 1 end))
    local other <close> = assert(core.watch_directory(directory, function(_, _, name) later[name] = true end))
    assert.is_userdata(other)
    watch:stop()
    copy(t.build(source(2)), directory .. "/b.so")
    t.await(function() return later["b.so"] end)
    assert.are.equal(0, count)
  end)
end)

describe("an alarm", function()
  it("rings once, in the order of time, and not when it was stopped", function()
    local rung = {}
    local function ring(name) return function() rung[#rung + 1] = name end end
    local late <close> = core.alarm(400, ring "late")
    local stopped = core.alarm(50, ring "stopped")
    local early <close> = core.alarm(5, ring "early")
    assert.is_true(late ~= early)
    stopped:stop()
    t.await(function() return #rung >= 2 end)
    assert.are.same({ "early", "late" }, rung)
  end)
end)
