// A collector of nothing but the OpenTelemetry project's own parts, for the tests, and one exporter
// of ours: "jsonfile" appends what it gets to a file, in the project's own JSON, one document a
// line, so that a test can read back what a real receiver understood.
//
// Built by scripts/build-collector.sh. The factories are those that scripts/fleet/otelcol.yaml
// names; see https://opentelemetry.io/docs/collector/ for what each does.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

func main() {
	settings := otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{
			Command:     "otelcol-test",
			Description: "OpenTelemetry Collector for tests",
		},
		Factories: factories,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{
					envprovider.NewFactory(),
					fileprovider.NewFactory(),
				},
			},
		},
	}
	if err := otelcol.NewCommand(settings).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func factories() (otelcol.Factories, error) {
	receivers, err := otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory())
	if err != nil {
		return otelcol.Factories{}, err
	}
	processors, err := otelcol.MakeFactoryMap[processor.Factory](
		batchprocessor.NewFactory(),
		memorylimiterprocessor.NewFactory(),
	)
	if err != nil {
		return otelcol.Factories{}, err
	}
	exporters, err := otelcol.MakeFactoryMap[exporter.Factory](
		debugexporter.NewFactory(),
		otlpexporter.NewFactory(),
		otlphttpexporter.NewFactory(),
		jsonFileFactory(),
	)
	return otelcol.Factories{
		Receivers:  receivers,
		Processors: processors,
		Exporters:  exporters,
		Telemetry:  otelconftelemetry.NewFactory(),
	}, err
}

// jsonFileConfig is what a configuration file says of one such exporter.
type jsonFileConfig struct {
	Path string `mapstructure:"path"`
}

// jsonFile writes documents; component.StartFunc and its sibling do nothing when they are nil.
type jsonFile struct {
	component.StartFunc
	component.ShutdownFunc
	path string
	mu   sync.Mutex
}

func jsonFileFactory() exporter.Factory {
	const level = component.StabilityLevelDevelopment
	open := func(config component.Config) *jsonFile {
		return &jsonFile{path: config.(*jsonFileConfig).Path}
	}
	traces := func(_ context.Context, _ exporter.Settings, c component.Config) (exporter.Traces, error) {
		return open(c), nil
	}
	metrics := func(_ context.Context, _ exporter.Settings, c component.Config) (exporter.Metrics, error) {
		return open(c), nil
	}
	logs := func(_ context.Context, _ exporter.Settings, c component.Config) (exporter.Logs, error) {
		return open(c), nil
	}
	return exporter.NewFactory(
		component.MustNewType("jsonfile"),
		func() component.Config { return &jsonFileConfig{} },
		exporter.WithTraces(traces, level),
		exporter.WithMetrics(metrics, level),
		exporter.WithLogs(logs, level),
	)
}

func (*jsonFile) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (f *jsonFile) ConsumeTraces(_ context.Context, data ptrace.Traces) error {
	return f.append((&ptrace.JSONMarshaler{}).MarshalTraces(data))
}

func (f *jsonFile) ConsumeMetrics(_ context.Context, data pmetric.Metrics) error {
	return f.append((&pmetric.JSONMarshaler{}).MarshalMetrics(data))
}

func (f *jsonFile) ConsumeLogs(_ context.Context, data plog.Logs) error {
	return f.append((&plog.JSONMarshaler{}).MarshalLogs(data))
}

// append is called with what a marshaler returned. The line is one write, so that a reader sees
// whole lines; the sender gets its answer after it, so that a test need not wait.
func (f *jsonFile) append(document []byte, err error) error {
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.Write(append(document, '\n')); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
