-- hot_symbol: C code of one plugin that calls another's functions, across reloads.
local hot = require "hotlua"
local t = require "hotlua.test"

local function load(name, source, options)
  options = options or {}
  options.name, options.watch = name, false
  return t.load(source, options)
end

local header = [[
#include <hotlua/plugin.h>
]]

local provider = [[
int version(void) { return %d; }
static int count;
int next(void) { return ++count; }
]]

-- Asks once and keeps the address.
local user = header .. [[
static int (*version)(void), (*next)(void);
int ask(void)
{
    version = (int (*)(void))hot_symbol("provider", "version");
    next = (int (*)(void))hot_symbol("provider", "next");
    return version && next;
}
int its_version(void) { return version(); }
int its_next(void) { return next(); }
void *address(void) { return hot_symbol("provider", "version"); }
int knows(const char *plugin, const char *name) { return hot_symbol(plugin, name) != 0; }
]]

describe("hot_symbol", function()
  it("gives an address that stays and goes to the live image", function()
    local of = load("provider", provider:format(1))
    local by = load("user", user)
    assert.are.equal(1, by.api.ask())
    local address = hot.address(by.api.address())
    for version = 1, 5 do
      if version > 1 then assert(t.swap(of, t.build(provider:format(version)))) end
      assert.are.equal(version, by.api.its_version())
      assert.are.equal(version, by.api.its_next())
      assert.are.equal(address, hot.address(by.api.address()))
    end
    assert(of:rollback())
    assert.are.equal(4, by.api.its_version())
    assert.are.equal(6, by.api.its_next())
  end)

  it("gives NULL for what is not there", function()
    load("provider", provider:format(1))
    local by = load("user", user)
    assert.are.equal(1, by.api.knows("provider", "version"))
    assert.are.equal(0, by.api.knows("provider", "count"))
    assert.are.equal(0, by.api.knows("provider", "none"))
    assert.are.equal(0, by.api.knows("nobody", "version"))
    assert.are.equal(0, by.api.knows(nil, "version"))
  end)

  it("serves constructors", function()
    load("provider", provider:format(7))
    local by = load("user", header .. [[
      static int seen;
      __attribute__((constructor)) static void start(void)
      {
          int (*version)(void) = (int (*)(void))hot_symbol("provider", "version");
          seen = version ? version() : -1;
      }
      int what(void) { return seen; }
    ]])
    assert.are.equal(7, by.api.what())
  end)

  it("passes arguments and results of every kind", function()
    load("provider", [[
      #include <stdarg.h>
      #include <errno.h>
      struct small { int a; double b; };
      struct pair { double a, b; };
      struct large { long values[40]; };
      long integers(long a, long b, long c, long d, long e, long f, long g, short h, long i)
      { return a + 10*b + 100*c + 1000*d + 10000*e + 100000*f + 1000000*g + 10000000*h + 100000000*i; }
      double doubles(double a, double b, double c, double d, double e, double f, double g, double h, double i, float j)
      { return a + 2*b + 4*c + 8*d + 16*e + 32*f + 64*g + 128*h + 256*i + 512*j; }
      double mixed(int a, double b, struct small s, long long c, struct large l, float d, struct pair p, char e, int f,
                   int g, int h, int i)
      { return a + b + s.a + s.b + c + l.values[0] + l.values[39] + d + p.a + p.b + e + f + g + h + i; }
      struct small make_small(int a, double b) { return (struct small){a, b}; }
      struct pair make_pair(double a, double b) { return (struct pair){b, a}; }
      struct large make_large(long a) { struct large l = {{a}}; l.values[39] = a + 1; return l; }
      long double halve(long double x) { return x / 2; }
      float quarter(float x) { return x / 4; }
      int sum(int count, ...)
      {
          va_list list;
          int sum = 0;
          va_start(list, count);
          for (int i = 0; i < count; i++) sum += i % 2 ? (int)va_arg(list, double) : va_arg(list, int);
          va_end(list);
          return sum;
      }
      int fails(void) { errno = 33; return -1; }
    ]])
    local by = load("user", header .. [[
      #include <errno.h>
      struct small { int a; double b; };
      struct pair { double a, b; };
      struct large { long values[40]; };
      #define GET(result, name, ...) result (*name)(__VA_ARGS__) = (result (*)(__VA_ARGS__))hot_symbol("provider", #name)
      int wrong(void)
      {
          GET(long, integers, long, long, long, long, long, long, long, short, long);
          GET(double, doubles, double, double, double, double, double, double, double, double, double, float);
          GET(double, mixed, int, double, struct small, long long, struct large, float, struct pair, char, int, int, int,
              int);
          GET(struct small, make_small, int, double);
          GET(struct pair, make_pair, double, double);
          GET(struct large, make_large, long);
          GET(long double, halve, long double);
          GET(float, quarter, float);
          GET(int, sum, int, ...);
          GET(int, fails, void);
          if (integers(1, 2, 3, 4, 5, 6, 7, -8, 9) != 900000000 - 80000000 + 7654321) return 1;
          if (doubles(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) != 1+4+12+32+80+192+448+1024+2304+5120) return 2;
          struct large l = {{5}};
          l.values[39] = 6;
          if (mixed(1, 2, (struct small){3, 4}, 5, l, 7, (struct pair){8, 9}, 10, 11, 12, 13, 14)
              != 1+2+3+4+5+5+6+7+8+9+10+11+12+13+14) return 3;
          struct small s = make_small(3, 4.5);
          if (s.a != 3 || s.b != 4.5) return 4;
          struct pair p = make_pair(1.5, 2.5);
          if (p.a != 2.5 || p.b != 1.5) return 5;
          l = make_large(77);
          if (l.values[0] != 77 || l.values[39] != 78 || l.values[20]) return 6;
          if (halve(5.0L) != 2.5L || quarter(1) != 0.25f) return 7;
          if (sum(10, 1, 2.0, 3, 4.0, 5, 6.0, 7, 8.0, 9, 10.0) != 55) return 8;
          errno = 0;
          if (fails() != -1 || errno != 33) return 9;
          return 0;
      }
    ]])
    for _ = 1, 3 do assert.are.equal(0, by.api.wrong()) end
  end)

  it("takes Lua callbacks through", function()
    load("provider", "int twice(int (*f)(int), int n) { return f(n) + f(n + 1); }")
    local by = load("user", header .. [[
      int outer(int (*f)(int), int n)
      {
          int (*twice)(int (*)(int), int) = (int (*)(int (*)(int), int))hot_symbol("provider", "twice");
          return twice(f, n) + 1;
      }
    ]])
    assert.are.equal(100 + 121 + 1, by.api.outer(function(n) return n * n end, 10))
    assert.error_matches(function() by.api.outer(function() error("from below") end, 1) end, "from below")
    assert.are.equal(0 + 1 + 1, by.api.outer(function(n) return n end, 0))
  end)

  it("survives a longjmp over the call, and the image can go", function()
    local of = load("provider", "#include <setjmp.h>\nvoid leave(jmp_buf *where) { longjmp(*where, 5); }", { keep = 0 })
    local by = load("user", header .. [[
      #include <setjmp.h>
      int jump(void)
      {
          void (*leave)(jmp_buf *) = (void (*)(jmp_buf *))hot_symbol("provider", "leave");
          jmp_buf here;
          int come = setjmp(here);
          if (!come) leave(&here);
          return come;
      }
    ]])
    for _ = 1, 1000 do assert.are.equal(5, by.api.jump()) end
    assert(t.swap(of, t.build "void leave(void *where) { (void)where; }"))
    assert.unloaded(of, 1)
    assert.are.equal(0, by.api.jump())
  end)
end)

describe("a function that is gone", function()
  local function run_apart(script)
    local path = t.write(t.tmpdir() .. "/main.lua", script)
    local uv = require "luv"
    local pipe = assert(io.popen(("'%s' %s 2>&1"):format(uv.exepath(), path)))
    local output = pipe:read("a")
    assert.is_true(pipe:close(), output)
    return output
  end

  it("gives 0 and one line on stderr, and works again when it is back", function()
    local output = run_apart(([[
      local hot = require "hotlua"
      local directory = %q
      local function put(file)
        os.execute(("cp %%s %%s/p.so.new && mv %%s/p.so.new %%s/p.so"):format(file, directory, directory, directory))
      end
      put(%q)
      local of = hot.load(directory .. "/p.so", { name = "provider", watch = false })
      local by = hot.load(%q, { name = "user", watch = false })
      by.api.ask()
      print(by.api.its_version())
      put(%q)
      assert(of:reload())
      print(by.api.its_version(), by.api.its_version(), by.api.its_next())
      put(%q)
      assert(of:reload())
      print(by.api.its_version(), by.api.its_next())
      of:close()
      print(by.api.its_version(), by.api.its_next())
    ]]):format(t.tmpdir(), t.build(provider:format(1)), t.build(user),
      t.build("static int count; int next(void) { return ++count; }"), t.build(provider:format(3))))
    local lines = {}
    for line in output:gmatch("[^\n]+") do lines[#lines + 1] = line end
    table.sort(lines)
    assert.are.same({ "0\t0", "0\t0\t1", "1", "3\t2",
      "hotlua: C called 'next' of plugin 'provider', which is gone: it gets 0",
      "hotlua: C called 'version' of plugin 'provider', which is gone: it gets 0" }, lines)
  end)
end)

describe("a crash behind hot_symbol", function()
  it("is an error of the call from Lua and rolls back whose code it was", function()
    local of = load("provider", provider:format(1))
    local by = load("user", user)
    by.api.ask()
    assert(t.swap(of, t.build [[
      int version(void) { return *(volatile int *)16; }
      static int count;
      int next(void) { return ++count; }
    ]]))
    local _, message = pcall(by.api.its_version)
    assert.matches("SIGSEGV in 'version' %(plugin 'provider', generation 2%)", message)
    t.await(function() return of:info().generation == 1 end)
    assert.are.equal(1, by.api.its_version())
    assert.are.equal(1, by:info().generation)
  end)
end)

-- A plugin with threads of its own that call the provider without a pause.
local threaded = header .. [[
#include <pthread.h>
#include <time.h>
static pthread_t threads[2];
static volatile int is_over, is_wrong;
static volatile long calls[2], last[2];
static long (*count)(int);
static int (*gate)(void);
static int gate_result;
static void *storm(void *number)
{
    int me = (int)(long)number;
    while (!is_over) {
        long result = count(me), version = result % 1000000;
        if (result / 1000000 != ++calls[me] || version < last[me]) is_wrong = 1;
        last[me] = version;
    }
    return 0;
}
void start(void)
{
    count = (long (*)(int))hot_symbol("provider", "count");
    for (long i = 0; i < 2; i++) pthread_create(&threads[i], 0, storm, (void *)i);
}
int finish(void)
{
    is_over = 1;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
    return is_wrong;
}
long calls_of(int i) { return calls[i]; }
static void *go_inside(void *unused) { gate_result = gate(); return unused; }
void enter(void)
{
    gate = (int (*)(void))hot_symbol("provider", "gate");
    pthread_create(&threads[0], 0, go_inside, 0);
    pthread_setname_np(threads[0], "diver");
}
int leave(void) { pthread_join(threads[0], 0); return gate_result; }
]]

describe("threads of a plugin", function()
  -- Two builds by turns; the number is set while nobody is inside, and never goes back.
  local counting = [[
    static long counts[2];
    int parity = %d;
    long number = 1;
    long count(int who) { return ++counts[who] * 1000000 + number; }
    long counted(int who) { return counts[who]; }
  ]]

  it("call the live image through reloads, losing nothing", function()
    local reloads, builds = tonumber(os.getenv "HOTLUA_STORM") or 200, {}
    for i = 0, 1 do builds[i] = t.build(counting:format(i)) end
    local of = load("provider", builds[0], { keep = 0, migrate = function(new, old)
      new.api.number = old.api.number + 1
    end })
    local by = load("threads", threaded)
    by.api.start()
    t.await(function() return by.api.calls_of(0) > 0 and by.api.calls_of(1) > 0 end)
    for n = 1, reloads do assert(t.swap(of, builds[n % 2])) end
    assert.are.equal(reloads + 1, of.api.number)
    assert.are.equal(0, by.api.finish())
    for i = 0, 1 do assert.are.equal(by.api.calls_of(i), of.api.counted(i)) end
    t.await(function() return #of:info().images == 1 end)
  end)

  local gated = [[
    #include <time.h>
    volatile int is_inside, is_open;
    int version(void) { return %d; }
    volatile int *gate_place(void) { return &is_open; }
    int gate(void)
    {
        is_inside = 1;
        while (!is_open) nanosleep(&(struct timespec){.tv_nsec = 100000}, 0);
        return version();
    }
  ]]

  it("that stay inside put a reload off, and are named", function()
    local of = load("provider", gated:format(1))
    local by = load("threads", threaded)
    by.api.enter()
    t.await(function() return of.api.is_inside == 1 end)
    local report, refusal = t.swap(of, t.build(gated:format(2)))
    assert.is_nil(report)
    assert.matches("put off: thread 'diver' is inside 'gate'", refusal.error)
    of.api.is_open = 1
    assert.are.equal(1, by.api.leave())
    assert(of:reload())
    assert.are.equal(2, of.api.version())
  end)

  it("keep the old image under them until they leave it", function()
    local of = load("provider", gated:format(1), { carry = "none", keep = 0, policy = hot.policy.no_stop })
    local by = load("threads", threaded)
    local gate = of.api.gate_place()
    by.api.enter()
    t.await(function() return of.api.is_inside == 1 end)
    assert(t.swap(of, t.build(gated:format(2))))
    assert.are.equal(2, of.api.version())
    assert.are.equal("retiring", of:info().images[1].state)
    gate[0] = 1
    assert.are.equal(1, by.api.leave())
    assert.unloaded(of, 1)
  end)
end)
