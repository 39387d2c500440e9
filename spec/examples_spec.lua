-- The examples, run as their READMEs say.
local t = require "hotlua.test"
local uv = require "luv"

local example = dofile "spec/support/example.lua"
local read, copy, start = example.read, example.copy, example.start

describe("examples/quickstart", function()
  it("changes under one's eyes and keeps its state", function()
    local directory = copy "quickstart"
    local output, status, process = start("main.lua", directory)
    t.await(function() return output():find("Hello, world!") end, 20000)
    local source = directory .. "/plugins/greeter.c"
    t.write(source, (read(source):gsub("Hello", "Good evening")))
    t.await(function() return output():find("Good evening, world!") end, 20000)
    local before = tonumber(output():match("Hello, world! %(greeting (%d+)%)[^H]*Good evening"))
    local after = tonumber(output():match("Good evening, world! %(greeting (%d+)%)"))
    assert.are.equal(before + 1, after)
    uv.process_kill(process, "sigterm")
    t.await(status, 5000)
    assert.are.equal(143, status())
  end)

  it("fits on a screen", function()
    local _, lines = read("examples/quickstart/main.lua"):gsub("\n", "")
    assert.is_true(lines <= 30, lines .. " lines")
  end)
end)

describe("examples/workers", function()
  it("goes on in all threads with the new code and counts every call", function()
    local directory = copy "workers"
    local output, status = start("main.lua 3", directory)
    t.await(function() return output():find("thread 0:.*thread 1:") end, 20000)
    local source = directory .. "/plugins/shapes.c"
    t.write(source, (read(source):gsub("%(double%)width %* height", "0.5 * width * height")))
    t.await(status, 20000)
    assert.are.equal(0, status(), output())
    assert.matches("generation 2 is live", output())
    local after = output():match("generation 2 is live(.*)")
    for thread = 0, 1 do
      local each = tonumber(after:match((".*thread %d: %%d+ shapes, area %%d+, ([%%d.]+) each"):format(thread)))
      assert.is_true(each < 6 and each > 3, output())
    end
    local by_threads, by_plugin = output():match("(%d+) shapes by the threads' count, (%d+) by the plugin's")
    assert.are.equal(by_threads, by_plugin)
  end)
end)

describe("make demo", function()
  it("shows edits, refusals and a rollback, and ends with status 0", function()
    local output, status = start("examples/demo/main.lua")
    t.await(status, 40000)
    assert.are.equal(0, status(), output())
    assert.matches("saved → live %d+ ms %(compile %d+, reload [%d.]+, pause [%d.]+%)", output())
    assert.matches("refused at stage 'build'", output())
    assert.matches("greeter%.c:%d+:%d+: error:", output())
    assert.matches("refused at stage 'before_load'", output())
    assert.matches("rolled back to generation", output())
    assert.matches("done: 2 reloads, 2 refusals", output())
  end)
end)
