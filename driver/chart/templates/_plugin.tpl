{{/* What both plugins of a node are started with. Takes a dict of root, container (its values) and endpoint (of its metrics). */}}
{{- define "driver.pluginEnvironment" -}}
{{- $root := .root }}
{{- $plugin := $root.Values.kubeletPlugin -}}
- {name: CDI_ROOT, value: {{ $plugin.cdiRoot | quote }}}
- {name: NVIDIA_DRIVER_ROOT, value: {{ $root.Values.nvidiaDriverRoot | quote }}}
- {name: DRIVER_ROOT_CTR_PATH, value: /driver-root}
- {name: HOST_ROOT, value: /host-root}
- {name: NVIDIA_CDI_HOOK_PATH, value: {{ $root.Values.nvidiaCDIHookPath | quote }}}
- {name: KUBELET_REGISTRAR_DIRECTORY_PATH, value: {{ $plugin.kubeletRegistrarDirectoryPath | quote }}}
- {name: KUBELET_PLUGINS_DIRECTORY_PATH, value: {{ $plugin.kubeletPluginsDirectoryPath | quote }}}
- {name: HEALTHCHECK_PORT, value: {{ .container.healthcheckPort | quote }}}
- {name: HTTP_ENDPOINT, value: {{ ternary .endpoint "" $plugin.metrics.enabled | quote }}}
- {name: METRICS_PATH, value: {{ $plugin.metrics.metricsPath | quote }}}
- {name: FEATURE_GATES, value: {{ include "driver.featureGates" $root | quote }}}
- {name: LOGGING_FORMAT, value: {{ $root.Values.loggingFormat | quote }}}
- {name: V, value: {{ $root.Values.logVerbosity | quote }}}
# The plugin must see all GPUs, whatever the container runtime would hide or add.
- {name: NVIDIA_VISIBLE_DEVICES, value: void}
- {name: NVIDIA_MIG_CONFIG_DEVICES, value: all}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
# Sockets of its own name: the next version serves before this one ends.
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
{{- with .container.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes the same dict, and prefix (of the ports' names) and period (of the liveness probe, in seconds). */}}
{{- define "driver.pluginPortsAndProbes" -}}
{{- $probed := ge (int .container.healthcheckPort) 0 }}
{{- $metrics := .root.Values.kubeletPlugin.metrics.enabled }}
{{- if or $probed $metrics -}}
ports:
  {{- if $probed }}
  - {name: {{ .prefix }}health, containerPort: {{ .container.healthcheckPort }}}
  {{- end }}
  {{- if $metrics }}
  - {name: {{ .prefix }}metrics, containerPort: {{ include "driver.portOf" .endpoint }}}
  {{- end }}
{{- end }}
{{- if $probed }}
# The service asks the plugin's own sockets what the kubelet would ask.
startupProbe:
  grpc: {port: {{ .container.healthcheckPort }}, service: liveness}
  periodSeconds: 1
  failureThreshold: 600
livenessProbe:
  grpc: {port: {{ .container.healthcheckPort }}, service: liveness}
  periodSeconds: {{ .period }}
  failureThreshold: 3
  timeoutSeconds: 10
{{- end }}
{{- with .container.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "driver.pluginMounts" -}}
{{- $plugin := .Values.kubeletPlugin -}}
- {name: registry, mountPath: {{ $plugin.kubeletRegistrarDirectoryPath | quote }}}
- {name: plugins, mountPath: {{ $plugin.kubeletPluginsDirectoryPath | quote }}, mountPropagation: Bidirectional}
- {name: cdi, mountPath: {{ $plugin.cdiRoot | quote }}}
- {name: driver-root, mountPath: /driver-root, readOnly: true, mountPropagation: HostToContainer}
- {name: host-root, mountPath: /host-root, readOnly: true, mountPropagation: HostToContainer}
{{- end -}}

{{/* Who may reach a plugin, as items of a network policy. Takes the same dict. */}}
{{- define "driver.openPorts" -}}
{{- if ge (int .container.healthcheckPort) 0 -}}
- {protocol: TCP, port: {{ .container.healthcheckPort }}}
{{ end -}}
{{- if .root.Values.kubeletPlugin.metrics.enabled -}}
- {protocol: TCP, port: {{ include "driver.portOf" .endpoint }}}
{{ end -}}
{{- end -}}
