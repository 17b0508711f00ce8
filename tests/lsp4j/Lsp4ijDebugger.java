// Debugs as LSP4IJ does with the template that `setup pycharm` writes: LSP4J on stdin and
// stdout of the adapter, `launch` not waited for, child sessions declared.
//
// java -cp LSP4J Lsp4ijDebugger.java PROGRAM LINE LAUNCH_JSON ADAPTER... ; facts go to
// stdout, one JSON object per line.

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.eclipse.lsp4j.debug.*;
import org.eclipse.lsp4j.debug.launch.DSPLauncher;
import org.eclipse.lsp4j.debug.services.IDebugProtocolClient;
import org.eclipse.lsp4j.debug.services.IDebugProtocolServer;
import org.eclipse.lsp4j.jsonrpc.Launcher;

public class Lsp4ijDebugger implements IDebugProtocolClient {
  static final long LIMIT_S = 60;
  static final Gson GSON = new Gson();

  final CompletableFuture<Void> initialized = new CompletableFuture<>();
  final CompletableFuture<StoppedEventArguments> stopped = new CompletableFuture<>();
  final CompletableFuture<Void> terminated = new CompletableFuture<>();

  public static void main(String[] args) {
    int code = 1;
    try {
      session(args);
      code = 0;
    } catch (Throwable error) {
      error.printStackTrace();
    }
    System.out.flush();
    Runtime.getRuntime().halt(code); // LSP4J's threads would keep the JVM for a minute
  }

  @SuppressWarnings("unchecked")
  static void session(String[] args) throws Exception {
    Process process =
        new ProcessBuilder(Arrays.copyOfRange(args, 3, args.length))
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    Lsp4ijDebugger client = new Lsp4ijDebugger();
    Launcher<IDebugProtocolServer> launcher =
        DSPLauncher.createClientLauncher(
            client, process.getInputStream(), process.getOutputStream());
    launcher.startListening();
    Map<String, Object> launch = GSON.fromJson(args[2], Map.class);
    launch.put("program", args[0]); // "${file}" in the template
    client.drive(launcher.getRemoteProxy(), args[0], Integer.parseInt(args[1]), launch);
    tell("exit", process.waitFor(LIMIT_S, TimeUnit.SECONDS) ? process.exitValue() : null);
  }

  void drive(
      IDebugProtocolServer server, String program, int line, Map<String, Object> launch)
      throws Exception {
    InitializeRequestArguments hello = new InitializeRequestArguments();
    hello.setClientID("lsp4ij");
    hello.setAdapterID("colab-devsync");
    hello.setPathFormat("path");
    hello.setLinesStartAt1(true);
    hello.setColumnsStartAt1(true);
    hello.setSupportsVariableType(true);
    hello.setSupportsStartDebuggingRequest(true);
    Capabilities known = get(server.initialize(hello));
    CompletableFuture<Void> launched = server.launch(launch);
    get(initialized);

    SetBreakpointsArguments points = new SetBreakpointsArguments();
    Source source = new Source();
    source.setPath(program);
    points.setSource(source);
    SourceBreakpoint point = new SourceBreakpoint();
    point.setLine(line);
    points.setBreakpoints(new SourceBreakpoint[] {point});
    tell("verified", get(server.setBreakpoints(points)).getBreakpoints()[0].isVerified());
    SetExceptionBreakpointsArguments filters = new SetExceptionBreakpointsArguments();
    filters.setFilters(new String[] {known.getExceptionBreakpointFilters()[1].getFilter()});
    get(server.setExceptionBreakpoints(filters));
    get(server.configurationDone(new ConfigurationDoneArguments()));
    get(launched);

    StoppedEventArguments stop = get(stopped);
    StackTraceArguments stack = new StackTraceArguments();
    stack.setThreadId(stop.getThreadId());
    StackFrame frame = get(server.stackTrace(stack)).getStackFrames()[0];
    tell("stopped", Map.of("path", frame.getSource().getPath(), "line", frame.getLine()));
    EvaluateArguments evaluate = new EvaluateArguments();
    evaluate.setExpression("total");
    evaluate.setFrameId(frame.getId());
    tell("total", get(server.evaluate(evaluate)).getResult());

    points.setBreakpoints(new SourceBreakpoint[0]);
    get(server.setBreakpoints(points));
    ContinueArguments on = new ContinueArguments();
    on.setThreadId(stop.getThreadId());
    get(server.continue_(on));
    get(terminated);
    get(server.disconnect(new DisconnectArguments()));
  }

  @Override
  public void initialized() {
    initialized.complete(null);
  }

  @Override
  public void stopped(StoppedEventArguments args) {
    stopped.complete(args);
  }

  @Override
  public void terminated(TerminatedEventArguments args) {
    terminated.complete(null);
  }

  static <T> T get(CompletableFuture<T> future) throws Exception {
    return future.get(LIMIT_S, TimeUnit.SECONDS);
  }

  static void tell(String step, Object facts) {
    JsonObject line = new JsonObject();
    line.addProperty("step", step);
    line.add("facts", GSON.toJsonTree(facts));
    System.out.println(line);
  }
}
