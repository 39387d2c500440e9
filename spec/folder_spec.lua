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

  it("follows a rename: the plugin goes on under its new name", function()
    put("old.so", version(4))
    local folder <close> = hot.load_dir(directory)
    local plugin = folder:get("old")
    local next_count = plugin.api.next
    next_count()
    assert(os.rename(directory .. "/old.so", directory .. "/new.so"))
    t.await(function() return folder:get("new") and not folder:get("old") end)
    assert.are.equal(plugin, folder:get("new"))
    assert.are.equal(plugin, hot.get("new"))
    assert.is_nil(hot.get("old"))
    assert.are.equal("new", plugin:info().name)
    assert.are.equal(directory .. "/new.so", plugin:info().path)
    assert.are.equal(2, next_count())
    put("new.so", version(5))
    t.await(function() return plugin.api.version() == 5 end)
    assert.are.equal(3, next_count())
    put("old.so", version(6))
    t.await(function() return folder:get("old") end)
    assert.are.equal(1, folder:get("old").api.next())
    os.remove(directory .. "/new.so")
    t.await(function() return not folder:get("new") end)
    assert.error_matches(next_count, "plugin 'new' is closed")
  end)

  it("forgets a bad file that is deleted, and a plugin that is closed", function()
    put("a.so", version(1))
    local folder <close> = hot.load_dir(directory)
    local task, errors = require "hotlua.task", {}
    local show = task.on_error
    task.on_error = function(message) errors[#errors + 1] = message end
    finally(function() task.on_error = show end)
    t.write(directory .. "/bad.so", "this is no shared object")
    t.await(function() return folder.errors["bad.so"] end)
    os.remove(directory .. "/bad.so")
    t.await(function() return not folder.errors["bad.so"] end)
    folder:get("a"):close()
    assert.are.equal(0, #folder)
    assert.is_nil(folder:get("a"))
  end)

  it("unloads all at the end", function()
    put("a.so", version(1))
    local folder = hot.load_dir(directory)
    local version_of = folder:get("a").api.version
    folder:close()
    assert.is_nil(hot.get("a"))
    assert.error_matches(version_of, "closed")
  end)

  it("runs constructors in the order of names, on the thread that loads", function()
    local source = [[
      #include <pthread.h>
      #include <stdlib.h>
      #include <stdio.h>
      static pthread_t self;
      static int number;
      __attribute__((constructor)) static void begin(void)
      {
          const char *before = getenv("HOTLUA_SPEC_ORDER");
          char text[20];
          number = (before ? atoi(before) : 0) + 1;
          snprintf(text, sizeof text, "%%d", number);
          setenv("HOTLUA_SPEC_ORDER", text, 1);
          self = pthread_self();
      }
      int order(void) { return number; }
      int is_here(void) { return pthread_equal(self, pthread_self()); }
      int version(void) { return %d; }]]
    for i = 1, 12 do put(("p%02d.so"):format(i), source:format(i)) end
    local folder <close> = hot.load_dir(directory)
    for i = 1, 12 do
      local api = folder:get(("p%02d"):format(i)).api
      assert.are.same({ i, i, 1 }, { api.order(), api.version(), api.is_here() })
    end
  end)

  it("loads those that are linked with each other", function()
    put("liba.so", "int base(void) { return 40; }")
    t.write(directory .. "/z.c", "int base(void); int sum(void) { return base() + 2; }")
    assert(os.execute(("cc -g -shared -fPIC -o %s/z.so %s/z.c -L%s -la"):format(directory, directory, directory)))
    local folder <close> = hot.load_dir(directory)
    assert.are.equal(42, folder:get("z").api.sum())
    put("liba.so", "int base(void) { return 50; }")
    t.await(function() return folder:get("z").api.sum() == 52 end)
  end)

  it("loads the good ones of many", function()
    for i = 1, 24 do
      local name = ("p%02d.so"):format(i)
      if i % 7 == 3 then t.write(directory .. "/" .. name, "not a plugin") else put(name, version(i)) end
    end
    local task, shown = require "hotlua.task", {}
    local show <const> = task.on_error
    task.on_error = function(message) shown[#shown + 1] = message end
    local folder <close> = hot.load_dir(directory)
    task.on_error = show
    assert.are.equal(3 + 1, #shown)
    assert.matches("p10.so", folder.errors["p10.so"])
    for i = 1, 24 do
      local plugin = folder:get(("p%02d"):format(i))
      if i % 7 == 3 then
        assert.is_nil(plugin)
      else
        assert.are.same({ i, 1 }, { plugin.api.version(), plugin.api.next() })
      end
    end
  end)

  it("says once which option is wrong", function()
    for i = 1, 3 do put(i .. ".so", version(i)) end
    assert.error_matches(function() hot.load_dir(directory, { polcy = 1 }) end, "no option 'polcy'")
    assert.is_nil(hot.get "1")
  end)

  it("says what is wrong with the directory", function()
    assert.error_matches(function() hot.load_dir(directory .. "/none") end, "none")
    assert.error_matches(function() hot.load_dir(7) end, "string expected")
    assert.error_matches(function() hot.load_dir(directory, { polcy = 1 }) end, "no option 'polcy'")
  end)
end)
