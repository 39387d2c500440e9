-- Folders of plugins.
local hot = require "hotlua"
local t = require "hotlua.test"

local function version(n)
  return ("int version(void) { return %d; } static int count; int next(void) { return ++count; }"):format(n)
end

describe("hot.load_dir", function()
  local directory
  local function put(name, source)
    local path = directory .. "/" .. name
    assert(os.execute(("cp %s %s.new && mv %s.new %s"):format(t.build(source), path, path, path)))
  end
  before_each(function() directory = t.tmpdir() end)

  it("loads every .so and iterates over them by name", function()
    for i, name in ipairs { "c.so", "a.so", "libb.so" } do put(name, version(i)) end
    t.write(directory .. "/notes.txt", "no plugin")
    local folder <close> = hot.load_dir(directory)
    local names = {}
    for name, plugin in folder:each() do
      names[#names + 1] = name
      assert.are.equal(plugin, hot.get(name))
    end
    assert.are.same({ "a", "c", "b" }, names)
    assert.are.equal(3, #folder)
    assert.are.equal(3, folder:get("b").api.version())
  end)

  it("takes in what appears, unloads what is deleted, reloads what changes", function()
    put("a.so", version(1))
    local folder <close> = hot.load_dir(directory)
    put("b.so", version(2))
    t.await(function() return folder:get("b") end)
    assert.are.equal(2, folder:get("b").api.version())
    local kept = folder:get("a").api.version
    folder:get("a").api.next()
    put("a.so", version(7))
    t.await(function() return kept() == 7 end)
    assert.are.equal(2, folder:get("a").api.next())
    os.remove(directory .. "/b.so")
    t.await(function() return not folder:get("b") end)
    assert.is_nil(hot.get("b"))
    assert.are.equal(1, #folder)
  end)

  it("is not stopped by a bad file, and tries it again when it changes", function()
    put("good.so", version(1))
    t.write(directory .. "/bad.so", "this is no shared object")
    local task, errors = require "hotlua.task", {}
    local show = task.on_error
    task.on_error = function(message) errors[#errors + 1] = tostring(message) end
    local folder <close> = hot.load_dir(directory)
    task.on_error = show
    assert.are.equal(1, folder:get("good").api.version())
    assert.matches("bad%.so: is not an ELF file", errors[1])
    assert.matches("not an ELF file", folder.errors["bad.so"])
    put("bad.so", version(3))
    t.await(function() return folder:get("bad") end)
    assert.are.equal(3, folder:get("bad").api.version())
    assert.is_nil(folder.errors["bad.so"])
  end)

  it("follows a rename", function()
    put("old.so", version(4))
    local folder <close> = hot.load_dir(directory)
    assert(os.rename(directory .. "/old.so", directory .. "/new.so"))
    t.await(function() return folder:get("new") and not folder:get("old") end)
    assert.are.equal(4, folder:get("new").api.version())
  end)

  it("unloads all at the end", function()
    put("a.so", version(1))
    local folder = hot.load_dir(directory)
    local version_of = folder:get("a").api.version
    folder:close()
    assert.is_nil(hot.get("a"))
    assert.error_matches(version_of, "closed")
  end)

  it("says what is wrong with the directory", function()
    assert.error_matches(function() hot.load_dir(directory .. "/none") end, "none")
    assert.error_matches(function() hot.load_dir(7) end, "string expected")
  end)
end)
