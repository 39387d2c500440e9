-- hotlua new: a project that builds, tests, runs and reloads as it is; and the commands' manners.
local t = require "hotlua.test"
local uv = require "luv"

local program = assert(uv.exepath())

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs a shell command in `directory`, in which $HOTLUA is this program.
local function run(directory, command)
  local pipe = io.popen(("cd %s && HOTLUA=%s && export HOTLUA && { %s; } 2>&1"):format(
    quote(directory), quote(program), command))
  local output = pipe:read "a"
  local _, _, code = pipe:close()
  return output, code
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

describe("hotlua new", function()
  local directory
  before_each(function() directory = t.tmpdir() end)

  local function make(name)
    local output, status = run(directory, '"$HOTLUA" new ' .. quote(name))
    assert.are.equal(0, status, output)
    return directory .. "/" .. name
  end

  it("makes all that a project needs", function()
    local project = make "counter"
    local files = run(project, "find . -type f | LC_ALL=C sort")
    assert.are.equal(table.concat({
      "./.busted", "./.gitignore", "./.luacheckrc", "./.luarc.json", "./Makefile", "./README.md",
      "./main.lua", "./migrate.lua", "./spec/counter_spec.lua", "./src/counter.c",
      "./stubs/counter.lua", "./stubs/hotlua.lua", "",
    }, "\n"), files)
    for file in files:gmatch "%S+" do
      assert.not_matches("@%u+@", read(project .. "/" .. file), file)
    end
    assert.is_table(require("dkjson").decode(read(project .. "/.luarc.json")))
  end)

  it("builds without a warning, and the stubs were right", function()
    local project = make "my-plugin"
    local stub = read(project .. "/stubs/my-plugin.lua")
    local output, status = run(project, "make CFLAGS='-O2 -g -Wall -Wextra -Werror'")
    assert.are.equal(0, status, output)
    assert.are.equal(stub, read(project .. "/stubs/my-plugin.lua"))
  end)

  it("passes its own tests", function()
    local output, status = run(make "counter", "make test")
    assert.are.equal(0, status, output)
    assert.matches("4 successes", output)
  end)

  it("is clean to luacheck", function()
    if not os.execute "command -v luacheck >/dev/null 2>&1" then return pending "no luacheck" end
    local output, status = run(make "counter", "luacheck .")
    assert.are.equal(0, status, output)
  end)

  it("runs, and reloads what is saved", function()
    local project = make "counter"
    local lines = {}
    local out = uv.new_pipe()
    local process
    process = assert(uv.spawn(program, {
      args = { "main.lua" }, cwd = project, stdio = { nil, out, 2 },
    }, function() process:close() end))
    out:read_start(function(_, data)
      lines[#lines + 1] = data
      if not data then out:close() end
    end)
    local function await(text)
      t.await(function() return table.concat(lines):find(text, 1, true) end, 20000)
    end
    await "hello, world (1)"
    local source = project .. "/src/counter.c"
    t.write(source, (read(source):gsub("hello", "good day")))
    await "counter: generation 2 is live"
    await "good day, world"
    assert.not_matches("good day, world %(1%)", table.concat(lines))
    process:kill "sigterm"
    t.await(function() return process:is_closing() and out:is_closing() end, 5000)
  end)

  it("refuses a folder that is there, and changes nothing in it", function()
    local project = make "counter"
    t.write(project .. "/main.lua", "mine")
    local output, status = run(directory, '"$HOTLUA" new counter')
    assert.are.equal(1, status)
    assert.matches("^hotlua new: 'counter' is already here", output)
    assert.are.equal("mine", read(project .. "/main.lua"))
  end)

  it("refuses a bad name", function()
    for _, name in ipairs { "a/b", "", "..", "1st", "a b", "a.so", "hotlua", ("x"):rep(80) } do
      local output, status = run(directory, '"$HOTLUA" new ' .. quote(name))
      assert.are.equal(1, status, name)
      assert.matches("^hotlua new: ", output)
    end
    assert.are.equal("", (run(directory, "ls")))
  end)

  it("makes it in another folder, too", function()
    local output, status = run(directory, 'mkdir "a folder" && "$HOTLUA" new "a folder/counter/"')
    assert.are.equal(0, status, output)
    assert.matches("cd a folder/counter\n", output)
    output, status = run(directory .. "/a folder/counter", "make test")
    assert.are.equal(0, status, output)
    output, status = run(directory, '"$HOTLUA" new none/counter')
    assert.are.equal(1, status)
    assert.matches("no such file or directory: none", output)
  end)

  it("wants one name", function()
    for _, arguments in ipairs { "", "one two", "--force" } do
      local output, status = run(directory, '"$HOTLUA" new ' .. arguments)
      assert.are.equal(2, status)
      assert.matches("usage: hotlua new NAME", output)
    end
  end)
end)

describe("hotlua help", function()
  it("knows every command", function()
    local text, status = run(".", '"$HOTLUA" help')
    assert.are.equal(0, status)
    assert.are.equal(text, (run(".", '"$HOTLUA" --help')))
    for _, name in ipairs { "test", "inspect", "check", "stubs", "new", "help" } do
      assert.matches("\n  " .. name, text)
      local more
      more, status = run(".", '"$HOTLUA" help ' .. name)
      assert.are.equal(0, status)
      assert.matches("^usage: hotlua " .. name, more)
    end
  end)

  it("does not know others", function()
    local text, status = run(".", '"$HOTLUA" help nonsense')
    assert.are.equal(2, status)
    assert.matches("there is no command 'nonsense'", text)
  end)
end)
