-- hotlua/plugin.h: events and log lines that a plugin raises, and the header without the host.
local hot = require "hotlua"
local plugins = require "hotlua.plugin"
local t = require "hotlua.test"

local header = "#include <hotlua/plugin.h>\n#include <stdint.h>\n"

-- What the plugin's function `raise` emits, a packed table for each event.
local function emitted(body, options)
  local plugin = t.load(header .. body, options)
  local events = {}
  plugin:on("emit", function(...) events[#events + 1] = table.pack(...) end)
  plugin.api.raise()
  return events, plugin
end

describe("hot_emit", function()
  it("brings values of every kind", function()
    local events = emitted [[void raise(void) {
      hot_emit("all", "ildbs", -1, (long)5000000000, 2.5, 1, "text");
      hot_emit("limits", "lid", INT64_MIN, INT32_MAX, -0.0);
    }]]
    assert.are.same({ "all", -1, 5000000000, 2.5, true, "text", n = 6 }, events[1])
    assert.are.same({ "limits", math.mininteger, 2147483647, -0.0, n = 4 }, events[2])
    assert.are.equal("integer", math.type(events[1][2]))
    assert.are.equal("float", math.type(events[2][4]))
  end)

  it("brings NULL as nil, pointers as pointers, and no values", function()
    local events = emitted [[static int target;
      void *place(void) { return &target; }
      void raise(void) {
        hot_emit("null", "sp", (char *)0, (void *)0);
        hot_emit("pointer", "p", &target);
        hot_emit("none", "");
      }]]
    assert.are.same({ "null", nil, nil, n = 3 }, events[1])
    assert.are.equal("userdata", type(events[2][2]))
    assert.are.same({ "none", n = 1 }, events[3])
  end)

  it("has run its handlers when it returns, whatever becomes of them", function()
    local task, errors = require "hotlua.task", {}
    local show = task.on_error
    task.on_error = function(message) errors[#errors + 1] = message end
    finally(function() task.on_error = show end)
    local plugin = t.load(header .. "int seen; int raise(void) { hot_emit(\"now\", \"\"); return seen; }")
    plugin:on("emit", function() plugin.api.seen = 7 end)
    plugin:on("emit", function() error "on purpose" end)
    assert.are.equal(7, plugin.api.raise())
    assert.matches("on purpose", errors[1])
  end)

  it("from another thread arrives on the loop's", function()
    local events = emitted [[
      #include <pthread.h>
      static void *run(void *unused) {
        char text[] = "copied";
        for (int i = 0; i < 3; i++) hot_emit("there", "is", i, text);
        text[0] = 'x';
        return unused;
      }
      void raise(void) { pthread_t thread; pthread_create(&thread, 0, run, 0); pthread_join(thread, 0); }]]
    t.await(function() return #events == 3 end)
    for i = 1, 3 do assert.are.same({ "there", i - 1, "copied", n = 3 }, events[i]) end
  end)

  it("is the live image's after a reload", function()
    local source = "void raise(void) { hot_emit(\"version\", \"i\", %d); }"
    local events, plugin = emitted(source:format(1))
    assert(t.swap(plugin, header .. source:format(2)))
    plugin.api.raise()
    assert.are.same({ "version", 2, n = 2 }, events[2])
  end)
end)

describe("hot_log", function()
  it("writes a line with the plugin's name", function()
    local log, lines = plugins.log, {}
    plugins.log = function(plugin, level, text) lines[#lines + 1] = ("%s %s %s"):format(plugin.name, level, text) end
    finally(function() plugins.log = log end)
    local plugin = t.load(header .. [[void say(void) { hot_log("warning", "%s is %d%%", "load", 90); }]],
      { name = "talker" })
    plugin.api.say()
    assert.are.same({ "talker warning load is 90%" }, lines)
  end)
end)

describe("hotlua/plugin.h without the host", function()
  local program = [[
    #include <hotlua/plugin.h>
    struct session { int id; };
    static HOT_STATE int visits = 1;
    HOT_TRANSIENT char scratch[16];
    int main(void)
    {
        struct session *session = hot_new(struct session);
        int *numbers = hot_new_array(int, 10);
        if (session->id != 0 || numbers[9] != 0 || visits != 1 || scratch[0] != 0) return 1;
        hot_free(numbers);
        hot_free(session);
        hot_free(NULL);
        hot_emit("nobody", "ids", 1, 2.0, "hears");
        hot_log("info", "%d visits", visits);
        return hot_symbol("none", "none") != NULL;
    }
  ]]

  for _, compiler in ipairs { "cc -std=c11 -x c", "c++ -x c++" } do
    it("falls back to plain C: " .. compiler, function()
      local directory = t.tmpdir()
      t.write(directory .. "/main.c", program)
      local build = "cd '%s' && %s -Wall -Wextra -pedantic -Werror -I'%s/include' -o main main.c && ./main 2>&1"
      local pipe = assert(io.popen(build:format(directory, compiler, require "luv".cwd())))
      assert.are.equal("info: 1 visits\n", pipe:read "a")
      assert.is_true((pipe:close()))
    end)
  end
end)

describe("an event handler", function()
  it("may reload the plugin that raised it", function()
    local source = "int raise(void) { hot_emit(\"now\", \"\"); return %d; }"
    local plugin = t.load(header .. source:format(1), { watch = false })
    local path, taken = plugin:info().path, nil
    local new = t.build(header .. source:format(2))
    local subscription = plugin:on("emit", function()
      assert(os.execute(("cp '%s' '%s.new' && mv '%s.new' '%s'"):format(new, path, path, path)))
      taken = hot.get(plugin.name):reload()
    end)
    assert.are.equal(1, plugin.api.raise())
    subscription:off()
    assert.is_true(taken.ok)
    assert.are.equal(2, plugin.api.raise())
  end)
end)
